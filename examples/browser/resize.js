// Resizing as Pillow's Image.Resampling.BILINEAR does it, which the models are trained with: a triangle
// filter that widens as the image shrinks, rounded to bytes after each direction. A canvas's drawImage
// uses another filter in each browser. An image that is far larger is first averaged in whole blocks,
// as Pillow's reducing_gap = 3 has it. Products are integers as in
// Pillow; what is left, a byte that differs by 1 here and there, is the order of the two directions.

const GAP = 3;
const BLOCK_UNIT = 2 ** 24, UNIT = 2 ** 22; // what stands for 1 in its integers

// rgba: bytes [height, width, 4], as a canvas gives them. Returns bytes [size, size, 3].
export function resize(rgba, width, height, size) {
  const fx = Math.max(1, Math.floor(width / size / GAP));
  const fy = Math.max(1, Math.floor(height / size / GAP));
  const pixels = blocks(onWhite(rgba), width, height, fx, fy);
  const w = Math.ceil(width / fx), h = Math.ceil(height / fy);
  const turned = shrinkAndTurn(pixels, w, h, size, width / fx);
  return shrinkAndTurn(turned, h, size, size, height / fy);
}

function onWhite(rgba) {
  const pixels = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    const alpha = rgba[from + 3];
    for (let c = 0; c < 3; c++) pixels[to++] = Math.round((rgba[from + c] * alpha + 255 * (255 - alpha)) / 255);
  }
  return pixels;
}

// Means of blocks of fx x fy pixels; those at the right and the lower edge may be smaller.
function blocks(pixels, width, height, fx, fy) {
  if (fx === 1 && fy === 1) return pixels;
  const w = Math.ceil(width / fx), h = Math.ceil(height / fy);
  const result = new Uint8Array(w * h * 3);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const bottom = Math.min(height, (y + 1) * fy), right = Math.min(width, (x + 1) * fx);
      const count = (bottom - y * fy) * (right - x * fx), part = Math.floor(BLOCK_UNIT / count);
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let v = y * fy; v < bottom; v++) for (let u = x * fx; u < right; u++) sum += pixels[(v * width + u) * 3 + c];
        result[(y * w + x) * 3 + c] = Math.floor(((sum + (count >> 1)) * part) / BLOCK_UNIT);
      }
    }
  }
  return result;
}

// Rows of `width` pixels become columns of `size` pixels: done twice, the image is upright again.
// extent: how many of the pixels the image really covers (the last block may be a part of one).
function shrinkAndTurn(pixels, width, height, size, extent) {
  const result = new Uint8Array(size * height * 3);
  const scale = extent / size, support = Math.max(1, scale);
  for (let i = 0; i < size; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support + 0.5));
    const last = Math.min(width, Math.floor(centre + support + 0.5));
    const weights = [];
    for (let x = first; x < last; x++) weights.push(Math.max(0, 1 - Math.abs(x + 0.5 - centre) / support));
    const total = weights.reduce((a, b) => a + b, 0);
    const integers = weights.map((weight) => Math.floor(0.5 + (weight / total) * UNIT));
    for (let y = 0; y < height; y++) {
      for (let c = 0; c < 3; c++) {
        let sum = UNIT / 2;
        for (let k = 0; k < integers.length; k++) sum += integers[k] * pixels[(y * width + first + k) * 3 + c];
        result[(i * height + y) * 3 + c] = Math.min(255, Math.floor(sum / UNIT));
      }
    }
  }
  return result;
}
