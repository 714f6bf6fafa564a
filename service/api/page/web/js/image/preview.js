// Pictures on a canvas: the policy allows no <img> of what a reader has chosen.
import { html, useEffect, useRef } from "../html.js";

const SIDE = 160;

export function FilePreview({ file }) {
  const canvas = useRef(null);
  useEffect(() => {
    let current = true;
    createImageBitmap(file)
      .then((bitmap) => {
        if (current) draw(canvas.current, bitmap);
        bitmap.close();
      })
      .catch(() => {}); // the service says what is wrong with it
    return () => (current = false);
  }, [file]);
  return html`<canvas ref=${canvas} width="0" height="0" role="img" aria-label="The picture ${file.name}"></canvas>`;
}

function draw(canvas, bitmap) {
  const factor = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * factor));
  canvas.height = Math.max(1, Math.round(bitmap.height * factor));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
}

export function PixelPreview({ pixels, models }) {
  const canvas = useRef(null);
  useEffect(() => {
    const image = new ImageData(rgba(pixels), pixels.width, pixels.height);
    canvas.current.getContext("2d").putImageData(image, 0, 0);
  }, [pixels]);
  const size = `${pixels.height} by ${pixels.width} pixels`;
  return html`<figure>
    <canvas ref=${canvas} class="pixels" width=${pixels.width} height=${pixels.height}
      role="img" aria-label="What ${models} see: ${size}"></canvas>
    <figcaption>what ${models} ${models.includes(",") ? "see" : "sees"}: ${size}</figcaption>
  </figure>`;
}

export function rgba(pixels) {
  const bytes = Uint8Array.from(atob(pixels.data), (letter) => letter.charCodeAt(0));
  const out = new Uint8ClampedArray(4 * pixels.width * pixels.height).fill(255);
  for (let at = 0; at < pixels.width * pixels.height; at++) {
    for (let channel = 0; channel < 3; channel++) {
      out[4 * at + channel] = bytes[pixels.channels * at + Math.min(channel, pixels.channels - 1)];
    }
  }
  return out;
}
