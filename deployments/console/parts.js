// What several views are made of: answers that are waited for, banners, tiles, a dialog that asks for a reason.

import { html, useCallback, useEffect, useRef, useState } from "./vendor/htm-preact-standalone.js";

/** The answer of `call`, asked anew when `inputs` change and every `seconds`: {answer, error, isLoading, again}. */
export function useAnswer(call, inputs, seconds = 0) {
  const [state, setState] = useState({ answer: null, error: null, isLoading: true });
  const round = useRef(0);
  const again = useCallback(async () => {
    const mine = ++round.current;
    try {
      const answer = await call();
      if (mine === round.current) setState({ answer, error: null, isLoading: false });
    } catch (error) {
      // What was known stays on the screen.
      if (mine === round.current) setState((before) => ({ ...before, error, isLoading: false }));
    }
  }, inputs);
  useEffect(() => {
    again();
    const timer = seconds ? setInterval(() => document.hidden || again(), 1000 * seconds) : null;
    return () => {
      round.current += 1;
      clearInterval(timer);
    };
  }, [again]);
  return { ...state, again };
}

/** What is amiss, in plain words; nothing when nothing is. */
export function Banner({ error, onRetry }) {
  if (!error) return null;
  const details = error.details ?? [];
  return html`<div class="banner" role="alert">
    <p>${error.message}</p>
    ${details.length > 0 && html`<ul>${details.slice(0, 12).map((each) => html`<li key=${each}>${each}</li>`)}</ul>`}
    ${onRetry && html`<button onClick=${onRetry}>Try again</button>`}
  </div>`;
}

/** One figure; `change` is how it differs from the one before, `isBetter` what that means, null when it means nothing. */
export function Tile({ label, value, change, isBetter = null, note, tone }) {
  const mark = isBetter === null ? "" : isBetter ? "better" : "worse";
  return html`<div class="tile ${tone ?? ""}">
    <span class="label">${label}</span>
    <span class="value">${value}</span>
    ${change && html`<span class="change ${mark}">${change}</span>`}
    ${note && html`<span class="note">${note}</span>`}
  </div>`;
}

/** Asks for a reason before something is done; `act` gets it, and what it throws is shown here with the text kept. */
export function ReasonDialog({ title, explanation, verb, tone, act, onClose, children }) {
  const [reason, setReason] = useState("");
  const [error, setError] = useState(null);
  const [isBusy, setIsBusy] = useState(false);
  const dialog = useRef(null);
  useEffect(() => {
    dialog.current.showModal();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    setIsBusy(true);
    setError(null);
    try {
      await act(reason.trim());
      onClose();
    } catch (found) {
      setError(found);
      setIsBusy(false);
    }
  };
  return html`<dialog ref=${dialog} onClose=${onClose}>
    <form onSubmit=${submit}>
      <h2>${title}</h2>
      <p>${explanation}</p>
      <label>Why? <textarea name="reason" rows="3" required maxlength="500" value=${reason} onInput=${(event) => setReason(event.target.value)}></textarea></label>
      ${children}
      <${Banner} error=${error} />
      <div class="actions">
        <button type="button" onClick=${onClose}>Cancel</button>
        <button class=${tone ?? "primary"} disabled=${isBusy || !reason.trim()}>${verb}</button>
      </div>
    </form>
  </dialog>`;
}
