// The frame: who is signed in, which view the address names, and what is amiss.

import { get, session, signIn, signOut, whenSignedOut } from "./api.js";
import { Component, html, render, useEffect, useRef, useState } from "./vendor/htm-preact-standalone.js";
import { Banner, useAnswer } from "./parts.js";
import { RolloutPage } from "./rollout.js";
import { SchedulePage } from "./schedule.js";
import { ServicePage } from "./service.js";
import { SchedulesPage, TodayPage } from "./today.js";
import { clockOf } from "./words.js";

const PLANNING = ["schedule", "read"];
const BRAKING = ["operate", "rollback"];
const PAGES = [
  { path: "today", title: "Today", needs: PLANNING, page: TodayPage },
  { path: "schedules", title: "Schedules", needs: PLANNING, page: SchedulesPage, one: SchedulePage },
  { path: "rollout", title: "Rollout", needs: BRAKING, page: RolloutPage },
  { path: "service", title: "Service", needs: [], page: ServicePage },
];
const THEMES = ["auto", "light", "dark"];

/** The page that an address names, else the first one that `scopes` allow. */
function pageOf(hash, scopes) {
  const [path, ...rest] = hash.replace(/^#\/?/, "").split("/");
  const page = PAGES.find((each) => each.path === path) ?? PAGES.find((each) => mayUse(scopes, each.needs));
  return { page, names: rest.filter(Boolean).map(decoded) };
}

/** A part of the address, which anybody may have typed. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function useHash() {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const follow = () => setHash(location.hash);
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return hash;
}

/** Dark and light as the system has it, unless a person says otherwise. */
function useTheme() {
  const [theme, setTheme] = useState(() => localStorage.getItem("theme") ?? "auto");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
    dispatchEvent(new Event("themechange"));
  }, [theme]);
  return [theme, () => setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length])];
}

function SignIn({ environment, hasEnded, onSignedIn }) {
  const [error, setError] = useState(null);
  const [isBusy, setIsBusy] = useState(false);
  const field = useRef(null);
  useEffect(() => field.current?.focus(), []);
  const enter = async (key) => {
    setIsBusy(true);
    setError(null);
    try {
      onSignedIn(await signIn(key));
    } catch (found) {
      setError(found);
    }
    setIsBusy(false);
  };
  const submit = (event) => {
    event.preventDefault();
    enter(field.current.value.trim());
  };
  return html`<form class="card sign-in" onSubmit=${submit} aria-label="Sign in">
    <h1>${hasEnded ? "Your session has ended" : "Sign in to Gantry"}</h1>
    <p>${hasEnded ? "Sign in again: the page behind is as you left it." : "With the API key that your administrator gave you. "}
      ${!hasEnded && html`It is sent once, and kept by the browser where no script can read it.`}</p>
    <label>Key <input ref=${field} type="password" name="key" autocomplete="current-password" spellcheck="false" /></label>
    <button class="primary" disabled=${isBusy}>Sign in</button>
    ${environment === "development" &&
    html`<button type="button" disabled=${isBusy} onClick=${() => enter("")}>Enter as developer, without a key</button>`}
    <${Banner} error=${error} />
  </form>`;
}

/** Above everything, also above a dialog in which something is typed already. */
function SignInAgain({ environment, onSignedIn }) {
  const dialog = useRef(null);
  useEffect(() => dialog.current.showModal(), []);
  return html`<dialog ref=${dialog} onCancel=${(event) => event.preventDefault()}>
    <${SignIn} environment=${environment} hasEnded onSignedIn=${onSignedIn} /></dialog>`;
}

function Navigation({ here, scopes }) {
  return html`<nav aria-label="Views">
    ${PAGES.map(({ path, title, needs }) => {
      const may = mayUse(scopes, needs);
      const why = may ? null : `Your key has no scope ${needs.join(" or ")}`;
      return may
        ? html`<a key=${path} href="#/${path}" aria-current=${path === here ? "page" : null}>${title}</a>`
        : html`<span key=${path} class="denied" title=${why} aria-label="${title}: ${why}">${title}</span>`;
    })}
  </nav>`;
}

const mayUse = (scopes, needs) => needs.length === 0 || needs.some((scope) => scopes.includes(scope));

function ClockOfPlant({ clock }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 15_000);
    return () => clearInterval(timer);
  }, []);
  return html`<span class="clock" title="The plant's clock">${clock.whole(now)} <small>${clock.zone}</small></span>`;
}

/** A page that fails leaves the frame, and says what to do. */
class Safe extends Component {
  constructor() {
    super();
    this.state = { error: null };
  }

  componentDidCatch(error) {
    this.setState({ error });
  }

  render({ children }, { error }) {
    if (!error) return children;
    const retry = () => this.setState({ error: null });
    return html`<${Banner} error=${{ message: `This page met something that it does not know: ${error.message}`, details: [] }} onRetry=${retry} />`;
  }
}

function App() {
  const hash = useHash();
  const [theme, nextTheme] = useTheme();
  const [who, setWho] = useState(undefined);
  const [hasEnded, setHasEnded] = useState(false);
  const [error, setError] = useState(null);
  const health = useAnswer(() => get("health"), []);
  const begin = async () => {
    setError(null);
    try {
      setWho(await session());
    } catch (found) {
      setError(found);
    }
  };
  useEffect(() => {
    whenSignedOut(() => setHasEnded(true));
    begin();
  }, []);
  const enter = (found) => {
    setWho(found);
    setHasEnded(false);
  };
  const leave = async () => {
    try {
      await signOut();
      setWho(null);
    } catch (found) {
      setError(found);
    }
  };
  const environment = health.answer?.environment;
  if (who === undefined || who === null) {
    return html`<main class="entrance">
      <${Banner} error=${error} onRetry=${begin} />
      ${who === null && html`<${SignIn} environment=${environment} onSignedIn=${enter} />`}
    </main>`;
  }
  const { page, names } = pageOf(hash, who.scopes);
  const clock = clockOf(who.zone);
  const View = names.length && page.one ? page.one : page.page;
  const denied = !mayUse(who.scopes, page.needs);
  return html`<header>
      <a class="brand" href="#/">Gantry</a>
      <${Navigation} here=${page.path} scopes=${who.scopes} />
      <span class="spacer"></span>
      <${ClockOfPlant} clock=${clock} />
      <button class="quiet" onClick=${nextTheme} title="Light, dark, or as the system has it">${`Theme: ${theme}`}</button>
      <span class="who" title="Scopes: ${who.scopes.join(", ")}">${who.actor}</span>
      <button class="quiet" onClick=${leave}>Sign out</button>
    </header>
    <main>
      <${Banner} error=${error} onRetry=${() => setError(null)} />
      ${denied
        ? html`<p class="card">This page needs a key with the scope ${page.needs.join(" or ")}; yours has ${who.scopes.join(", ")}.</p>`
        : html`<${Safe} key=${page.path}><${View} key=${names[0] ?? ""} names=${names} who=${who} clock=${clock} environment=${environment} /><//>`}
    </main>
    ${hasEnded && html`<${SignInAgain} environment=${environment} onSignedIn=${enter} />`}`;
}

render(html`<${App} />`, document.getElementById("app"));
