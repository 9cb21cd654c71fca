// The page that shows the merged OpenAPI document and sends requests; nothing comes from another address.
"use strict";

const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
};

const byId = (id) => document.getElementById(id);
let api = {};

const resolve = (schema) => {
  if (!schema || !schema.$ref) return schema || {};
  return schema.$ref.split("/").slice(1).reduce((node, key) => node && node[key], api) || {};
};

// An example body from a schema: what it offers itself, else the plainest value of each required field.
const example = (given, depth = 0) => {
  const schema = resolve(given);
  if (schema.example !== undefined) return schema.example;
  if (schema.examples && schema.examples.length) return schema.examples[0];
  if (schema.const !== undefined) return schema.const;
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (depth > 6) return null;
  const choice = (schema.anyOf || schema.oneOf || schema.allOf || [])[0];
  if (choice) return example(choice, depth + 1);
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case "object": {
      const required = new Set(schema.required || Object.keys(schema.properties || {}));
      return Object.fromEntries(Object.entries(schema.properties || {})
        .filter(([name]) => required.has(name)).map(([name, value]) => [name, example(value, depth + 1)]));
    }
    case "array": return [example(schema.items, depth + 1)];
    case "integer": case "number": return schema.minimum ?? (schema.exclusiveMinimum !== undefined ? schema.exclusiveMinimum + 1 : 1);
    case "boolean": return false;
    case "string": return schema.format === "date-time" ? new Date().toISOString() : "example";
    default: return null;
  }
};

const field = (parameter) => {
  const input = element("input", { autocomplete: "off", spellcheck: false });
  input.dataset.name = parameter.name;
  input.dataset.in = parameter.in;
  if (parameter.name.toLowerCase() === "idempotency-key") input.value = crypto.randomUUID();
  const name = parameter.name + (parameter.required ? " *" : "");
  return element("label", { title: parameter.description || "" }, name, input);
};

const send = async (method, path, form, answer) => {
  let target = path;
  const query = new URLSearchParams();
  const headers = { authorization: `Bearer ${byId("token").value.trim()}` };
  for (const input of form.querySelectorAll("input[data-name]")) {
    const { name, in: place } = input.dataset;
    if (place === "path") target = target.replace(`{${name}}`, encodeURIComponent(input.value));
    else if (input.value !== "" && place === "query") query.append(name, input.value);
    else if (input.value !== "" && place === "header") headers[name] = input.value;
  }
  target = target.replace("{shop}", encodeURIComponent(byId("shop").value.trim()));
  const text = form.querySelector("textarea");
  if (text) headers["content-type"] = "application/json";
  const started = performance.now();
  try {
    const address = target + (query.size ? `?${query}` : "");
    const response = await fetch(address, { method: method.toUpperCase(), headers, body: text ? text.value : undefined });
    const raw = await response.text();
    let shown = raw;
    try { shown = JSON.stringify(JSON.parse(raw), null, 2); } catch { /* not JSON: shown as it came */ }
    const took = Math.round(performance.now() - started);
    const request = response.headers.get("x-request-id");
    answer.textContent = `${response.status} ${response.statusText} · ${took} ms · request ${request}\n\n${shown}`;
  } catch (error) {
    answer.textContent = String(error);
  }
};

const operation = (path, method, described) => {
  const parameters = (described.parameters || []).map(resolve).filter((parameter) => parameter.name !== "shop");
  const form = element("form", { className: "body" });
  if (described.description) form.append(element("p", { className: "about" }, described.description));
  form.append(element("div", { className: "fields" }, ...parameters.map(field)));
  const content = resolve(described.requestBody).content || {};
  const kind = Object.keys(content)[0];
  if (kind) {
    const text = element("textarea", { spellcheck: false, ariaLabel: "body" });
    text.value = JSON.stringify(example(content[kind].schema), null, 2);
    form.append(text);
  }
  const answer = element("pre", { hidden: true });
  form.append(element("button", {}, "Send"), answer);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    answer.hidden = false;
    answer.textContent = "…";
    send(method, path, form, answer);
  });
  const head = element("summary", {},
    element("span", { className: `method ${method}` }, method.toUpperCase()),
    element("span", { className: "path" }, path),
    element("span", { className: "says" }, described.summary || ""));
  const made = element("details", {}, head, form);
  made.dataset.words = `${method} ${path} ${described.summary || ""}`.toLowerCase();
  return made;
};

const show = () => {
  byId("about").textContent = api.info.description.split("\n\n").join(" ");
  for (const tag of api.tags) {
    const section = element("section", {}, element("h2", {}, tag.name), element("p", {}, tag.description || ""));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const [method, described] of Object.entries(item)) {
        if ((described.tags || []).includes(tag.name)) section.append(operation(path, method, described));
      }
    }
    byId("operations").append(section);
  }
};

byId("find").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/);
  for (const made of document.querySelectorAll("details")) {
    made.hidden = !words.every((word) => made.dataset.words.includes(word));
  }
});
byId("token").value = sessionStorage.getItem("token") || "";
byId("token").addEventListener("change", (event) => sessionStorage.setItem("token", event.target.value));

fetch("/openapi.json").then((response) => response.json()).then((document) => { api = document; show(); })
  .catch((error) => { byId("about").textContent = `openapi.json cannot be read: ${error}`; });
