// Shows /api/openapi.json. Text from the description goes into the page as text, never as markup.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
// Answers of the "try" button are shown up to so many characters.
const LONGEST = 200000;
let api;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

// What a reference leads to.
function resolve(schema) {
  const path = schema?.$ref?.replace(/^#\//, "").split("/");
  return path ? path.reduce((at, key) => at?.[key], api) ?? {} : schema ?? {};
}

// An example's outline: each key with its type.
function outline(schema, seen = []) {
  if (schema?.$ref) {
    if (seen.includes(schema.$ref)) return schema.$ref.split("/").pop();
    return outline(resolve(schema), [...seen, schema.$ref]);
  }
  if (!schema || schema === true) return "any";
  if (schema.allOf) {
    const parts = schema.allOf.map((part) => outline(part, seen));
    const isObject = parts.every((part) => typeof part === "object" && !Array.isArray(part));
    return isObject ? Object.assign({}, ...parts) : parts[parts.length - 1];
  }
  const options = schema.oneOf ?? schema.anyOf;
  if (options) {
    const shown = options.map((option) => outline(option, seen)).filter((one) => one !== "null");
    return shown.length === 1 ? shown[0] : { "one of": shown };
  }
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const types = [schema.type].flat().filter((type) => type && type !== "null");
  const isOptional = [schema.type].flat().includes("null");
  if (schema.properties) {
    return Object.fromEntries(Object.entries(schema.properties).map(([key, value]) => {
      const name = schema.required?.includes(key) ? key : `${key}?`;
      return [name, outline(value, seen)];
    }));
  }
  if (types[0] === "array") return [outline(schema.items, seen)];
  if (schema.additionalProperties) return { "<key>": outline(schema.additionalProperties, seen) };
  const format = schema.format ? ` (${schema.format})` : "";
  return `${types.join(" | ") || "any"}${format}${isOptional ? " | null" : ""}`;
}

function shape(schema) {
  return element("pre", { tabindex: "0" }, JSON.stringify(outline(schema), null, 2));
}

function table(heads, rows) {
  const cells = (name, row) => element("tr", {}, ...row.map((cell) => element(name, {}, cell)));
  const head = element("thead", {}, cells("th", heads));
  const body = element("tbody", {}, ...rows.map((row) => cells("td", row)));
  return element("div", { class: "wide" }, element("table", {}, head, body));
}

function parameters(operation) {
  const given = (operation.parameters ?? []).map(resolve);
  if (!given.length) return [];
  const rows = given.map((one) => [
    element("code", {}, one.name + (one.required ? " *" : "")),
    one.in,
    element("code", {}, String(outline(one.schema))),
    one.description ?? "",
  ]);
  return [element("h3", {}, "Parameters"), table(["name", "in", "type", "meaning"], rows)];
}

function contents(holder) {
  return Object.entries(holder?.content ?? {}).flatMap(([kind, content]) => [
    element("p", {}, element("code", {}, kind)),
    content.schema ? shape(content.schema) : undefined,
  ]);
}

function answers(operation) {
  const all = Object.entries(operation.responses ?? {});
  const well = all.filter(([status]) => status < "400");
  const others = all.filter(([status]) => status >= "400");
  const rows = others.map(([status, answer]) => [status, resolve(answer).description ?? ""]);
  const shown = well.flatMap(([status, answer]) => [
    element("h3", {}, `Answer ${status}`),
    resolve(answer).description ? element("p", {}, resolve(answer).description) : undefined,
    ...contents(resolve(answer)),
  ]);
  if (rows.length) shown.push(element("h3", {}, "Problems"), table(["status", "meaning"], rows));
  return shown;
}

async function ask(form, path, given, status, output) {
  const query = new URLSearchParams();
  let url = path;
  for (const one of given) {
    const value = form.elements[one.name].value;
    if (one.in === "path") url = url.replace(`{${one.name}}`, encodeURIComponent(value));
    else if (value !== "") query.set(one.name, value);
  }
  if (query.size) url += `?${query}`;
  status.textContent = `GET ${url} …`;
  output.hidden = true;
  try {
    const started = performance.now();
    const answer = await fetch(url, { headers: { accept: "application/json" } });
    let text = await answer.text();
    const took = Math.round(performance.now() - started);
    status.textContent = `GET ${url}: ${answer.status} ${answer.statusText}, ${took} ms`;
    // Numbers beyond 2^53 would not survive being parsed: such text is shown as it came.
    const hasBig = /\d{16}/.test(text);
    if (answer.headers.get("content-type")?.includes("json") && !hasBig) {
      try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* shown as it is */ }
    }
    output.textContent = text.slice(0, LONGEST);
    output.hidden = false;
  } catch (error) {
    status.textContent = `GET ${url}: ${error.message}`;
  }
}

function trial(path, operation) {
  const given = (operation.parameters ?? []).map(resolve);
  const fields = given.map((one) => element("label", {},
    element("span", {}, one.name),
    element("input", { name: one.name, autocomplete: "off", required: one.required ? "" : undefined })));
  const form = element("form", {}, ...fields, element("button", { type: "submit" }, "Try it"));
  const status = element("p", { role: "status" });
  const output = element("pre", { tabindex: "0", "aria-label": "the answer" });
  output.hidden = true;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(form, path, given, status, output);
  });
  return [element("h3", {}, "Try it"), form, status, output];
}

// A stream never ends; files are for saving.
function canTry(method, operation) {
  const kinds = Object.keys(resolve(operation.responses?.["200"]).content ?? {});
  return method === "get" && !kinds.some((kind) => /event-stream|octet-stream|csv/.test(kind));
}

function shown(method, path, operation) {
  const about = operation.summary ?? operation.description ?? "";
  const role = operation["x-role"];
  const id = `${method}-${path}`.replace(/[^a-z0-9]+/gi, "-");
  const head = element("summary", {},
    element("span", { class: `method ${method}` }, method.toUpperCase()),
    element("span", { class: "path" }, path),
    element("span", { class: "about" }, about),
    role ? element("span", { class: "role" }, role === "open" ? "open to all" : `needs ${role}`)
      : undefined);
  const body = element("div");
  const details = element("details", { class: "operation", id }, head, body);
  details.dataset.text = `${method} ${path} ${about} ${role}`.toLowerCase();
  // Hundreds of schemas are drawn only when somebody looks.
  details.addEventListener("toggle", () => {
    if (!details.open || body.childNodes.length) return;
    const more = operation.summary && operation.description;
    body.append(...[
      more ? element("p", {}, operation.description) : undefined,
      ...parameters(operation),
      ...(operation.requestBody
        ? [element("h3", {}, "Body"), ...contents(resolve(operation.requestBody))] : []),
      ...answers(operation),
      ...(canTry(method, operation) ? trial(path, operation) : []),
    ].filter((child) => child !== undefined));
  });
  const link = element("a", { href: `#${id}` }, `${method.toUpperCase()} ${path}`);
  link.addEventListener("click", () => { details.open = true; });
  return { details, entry: element("li", {}, link) };
}

function draw() {
  document.getElementById("version").textContent = api.info.version;
  document.getElementById("description").textContent = api.info.description ?? "";
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = item[method].tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(shown(method, path, item[method]));
    }
  }
  const main = document.getElementById("operations");
  const index = document.getElementById("index");
  for (const tag of [...groups.keys()].sort()) {
    const operations = groups.get(tag);
    main.append(element("section", { "aria-labelledby": `tag-${tag}` },
      element("h2", { id: `tag-${tag}` }, tag),
      ...operations.map((one) => one.details)));
    index.append(element("div", {},
      element("strong", {}, tag), element("ul", {}, ...operations.map((one) => one.entry))));
  }
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
}

function narrow(words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const details of document.querySelectorAll("details.operation")) {
    const fits = wanted.every((word) => details.dataset.text.includes(word));
    details.hidden = !fits;
    count += fits ? 1 : 0;
    const link = document.querySelector(`#index a[href="#${details.id}"]`);
    link.parentElement.hidden = !fits;
  }
  for (const section of document.querySelectorAll("main section, #index > div")) {
    section.hidden = !section.querySelector("details:not([hidden]), li:not([hidden])");
  }
  document.getElementById("state").textContent = wanted.length ? `${count} operations` : "";
}

async function start() {
  const state = document.getElementById("state");
  try {
    const answer = await fetch("/api/openapi.json");
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    api = await answer.json();
  } catch (error) {
    state.textContent = `The description cannot be loaded: ${error.message}`;
    return;
  }
  state.textContent = "";
  draw();
  const filter = document.getElementById("filter");
  filter.addEventListener("input", () => narrow(filter.value));
}

start();
