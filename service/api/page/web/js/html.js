// HTML as tagged strings, bound to Preact.
import { h, render } from "../vendor/preact.mjs";
import { useEffect, useRef, useState } from "../vendor/hooks.mjs";
import htm from "../vendor/htm.mjs";

const html = htm.bind(h);
export { html, render, useEffect, useRef, useState };
