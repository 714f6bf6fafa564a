// Pictures from anywhere: dropped on the window, pasted, chosen, photographed.
import { html, useEffect, useState } from "../html.js";

export const ACCEPT = "image/jpeg,image/png,image/webp,image/bmp,image/gif";

export function Intake({ onFiles, examples }) {
  const [over, setOver] = useState(false);
  const [said, say] = useState("");

  useEffect(() => {
    const take = (files, none) => {
      const chosen = [...files];
      if (chosen.length) onFiles(chosen);
      say(chosen.length ? "" : none);
    };
    const dragged = (event) => {
      event.preventDefault();
      setOver(event.type === "dragover");
    };
    const dropped = (event) => {
      event.preventDefault();
      setOver(false);
      take(event.dataTransfer.files, "That was no file: save the picture first, then drop it here.");
    };
    const pasted = (event) => {
      if (event.target.closest?.("input[type=text], textarea")) return;
      take(event.clipboardData.files, "There is no picture in the clipboard.");
    };
    const left = (event) => event.relatedTarget === null && setOver(false);
    const listeners = [
      ["dragover", dragged],
      ["dragleave", left],
      ["drop", dropped],
      ["paste", pasted],
    ];
    for (const [name, listener] of listeners) document.addEventListener(name, listener);
    return () => {
      for (const [name, listener] of listeners) document.removeEventListener(name, listener);
    };
  }, [onFiles]);

  const chosen = (event) => {
    onFiles([...event.target.files]);
    event.target.value = ""; // the same file again is a change too
  };
  return html`<div class="intake ${over ? "over" : ""}">
    <p class="choices">
      <label class="button primary">Choose pictures
        <input type="file" accept=${ACCEPT} multiple onChange=${chosen} /></label>
      <label class="button">Take a photo
        <input type="file" accept="image/*" capture="environment" onChange=${chosen} /></label>
      <span>or drop them anywhere here, or paste one.</span>
    </p>
    <p role="status">${said}</p>
    ${examples}
  </div>`;
}
