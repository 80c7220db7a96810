// What moenas wrote into an ONNX file about the model. ONNX Runtime Web does not tell a file's metadata,
// so this reads them: an ONNX file is a protobuf message whose fields 14 are pairs of key and value.

const METADATA = 14, KEY = 1, VALUE = 2;

// bytes: Uint8Array of the file. Returns {architecture, classes, image_size, threshold, parameters}.
export function readCard(bytes) {
  try {
    for (const [field, entry] of messages(bytes)) {
      if (field !== METADATA) continue;
      const pair = Object.fromEntries([...messages(entry)].map(([name, text]) => [name, new TextDecoder().decode(text)]));
      if (pair[KEY] === "moenas") return checked(JSON.parse(pair[VALUE]).card);
    }
  } catch { /* no protobuf, or no JSON: said below */ }
  throw new Error("This file was not exported by moenas.");
}

function checked(card) {
  const fine = Number.isInteger(card.image_size) && card.image_size > 0 && card.image_size <= 4096
    && Array.isArray(card.classes) && card.classes.length === 2 && card.threshold >= 0 && card.threshold <= 1;
  if (!fine) throw new Error("The card in the file cannot be used.");
  return card;
}

// The fields of a message that are bytes: messages, texts. Numbers are passed over.
function* messages(bytes) {
  let at = 0;
  const number = () => {
    let value = 0, factor = 1, byte;
    do { byte = bytes[at++]; value += (byte & 127) * factor; factor *= 128; } while (byte & 128);
    return value;
  };
  while (at < bytes.length) {
    const tag = number(), kind = tag % 8;
    if (kind === 0) number();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const length = number();
      if (at + length > bytes.length) throw new Error("truncated");
      yield [Math.floor(tag / 8), bytes.subarray(at, at + length)];
      at += length;
    } else throw new Error("no protobuf");
  }
}
