// A model of moenas in the browser: choose a file, choose an image or the camera, read the answer.

import { readCard } from "./card.js";
import { resize } from "./resize.js";

const RUNTIME = new URL("node_modules/onnxruntime-web/dist/", document.baseURI).href;
const EVERY = 250; // milliseconds between two answers to the camera
const at = (id) => document.getElementById(id);
let ort, session, card, stream, shown = 0;

async function runtime() {
  if (ort) return;
  try {
    ort = await import(`${RUNTIME}ort.wasm.min.mjs`);
  } catch {
    throw new Error("ONNX Runtime Web is not here: run npm install in this folder and load the page again.");
  }
  ort.env.wasm.wasmPaths = RUNTIME;
  ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
}

async function openModel(file) {
  at("model-status").textContent = `Opening ${file.name} …`;
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const found = readCard(bytes);
    await runtime();
    session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    card = found;
  } catch (error) {
    at("model-status").textContent = session ? "The model before is still open." : "No model yet.";
    throw error;
  }
  at("model-status").textContent = `${file.name} is open.`;
  const facts = [["Architecture", card.architecture], ["Parameters", card.parameters.toLocaleString("en")],
    ["Image", `${card.image_size} × ${card.image_size} pixels`], [`“${card.classes[1]}” from`, `probability ${card.threshold.toFixed(3)}`]];
  at("model-card").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  at("model-card").hidden = false;
  at("image").disabled = at("camera").disabled = false;
  if (!at("photo").hidden) await openImage(at("image").files[0]);
}

async function openImage(file) {
  stopCamera();
  let bitmap;
  try { // as Pillow decodes it: upright, colours as stored, transparency kept
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error(`${file.name} cannot be read as an image.`);
  }
  URL.revokeObjectURL(at("photo").src);
  at("photo").src = URL.createObjectURL(file);
  view("photo");
  await answer(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
}

async function answer(source, width, height) {
  const turn = ++shown, size = card.image_size;
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(source, 0, 0);
  const pixels = resize(pen.getImageData(0, 0, width, height).data, width, height, size);
  draw(pixels, size);
  const start = performance.now();
  const found = await session.run({ image: new ort.Tensor("uint8", pixels, [1, size, size, 3]) });
  const milliseconds = performance.now() - start;
  if (turn !== shown) return; // something newer has been asked
  const probability = found.probabilities.data[1];
  at("answer").textContent = card.classes[probability >= card.threshold ? 1 : 0];
  at("answer").dataset.probability = probability;
  at("bar").style.width = `${100 * probability}%`;
  at("mark").style.left = `${100 * card.threshold}%`;
  at("mark").style.display = "block";
  at("numbers").textContent =
    `Probability ${probability.toFixed(4)}; ${card.classes[1]} from ${card.threshold.toFixed(4)} on. ${milliseconds.toFixed(0)} ms.`;
}

function draw(pixels, size) {
  const canvas = at("seen");
  canvas.width = canvas.height = size;
  const image = new ImageData(size, size);
  for (let i = 0; i < size * size; i++) image.data.set([...pixels.subarray(3 * i, 3 * i + 3), 255], 4 * i);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

async function startCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch {
    throw new Error("The camera cannot be used: it is absent, or the page may not use it.");
  }
  at("video").srcObject = stream;
  await at("video").play();
  at("camera").setAttribute("aria-pressed", "true");
  at("camera").textContent = "Stop the camera";
  at("answer").setAttribute("aria-live", "off"); // four answers a second are not to be read aloud
  view("video");
  while (stream) {
    await answer(at("video"), at("video").videoWidth, at("video").videoHeight);
    await new Promise((done) => setTimeout(done, EVERY));
  }
}

function stopCamera() {
  if (!stream) return;
  for (const track of stream.getTracks()) track.stop();
  stream = undefined;
  at("camera").setAttribute("aria-pressed", "false");
  at("camera").textContent = "Use the camera";
  at("answer").setAttribute("aria-live", "polite");
}

function view(id) {
  for (const each of ["photo", "video", "empty"]) at(each).hidden = each !== id;
}

function element(name, text) {
  const result = document.createElement(name);
  result.textContent = text;
  return result;
}

// What a control starts; what goes wrong is said on the page.
function when(id, event, action) {
  at(id).addEventListener(event, async (happening) => {
    at("error").textContent = "";
    try {
      await action(happening.target);
    } catch (error) {
      at("error").textContent = error.message;
    }
  });
}

when("model", "change", ({ files }) => files.length && openModel(files[0]));
when("image", "change", ({ files }) => files.length && openImage(files[0]));
when("camera", "click", () => (stream ? stopCamera() : startCamera()));
