// Elements in one call.

/** Return an element; `on…` are listeners, other names properties or attributes. */
export function h(tag, properties = {}, ...children) {
  const element = tag.startsWith('svg:') ? document.createElementNS('http://www.w3.org/2000/svg', tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name in element && !tag.startsWith('svg:') && name !== 'list' && name !== 'style') element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return a choice of [value, label], or of [group, [[value, label], …]]. */
export function choice(label, options, value, change, properties = {}) {
  const option = ([name, shown]) => h('option', { value: name, selected: name === value }, shown);
  const items = options.map(([name, shown]) => (Array.isArray(shown) ? h('optgroup', { label: name }, shown.map(option)) : option([name, shown])));
  return h('select', { 'aria-label': label, title: label, onchange: (event) => change(event.target.value), ...properties }, items);
}

/** Replace what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

/** Offer bytes as a file. */
export function download(name, data, type = 'application/octet-stream') {
  const url = URL.createObjectURL(data instanceof Blob ? data : new Blob([data], { type }));
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** Return a number as people read it. */
export function shown(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  if (Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(digits)));
}

/** Return a value with its unit; `1` is none. */
export const withUnit = (value, unit) => `${shown(value)}${unit && unit !== '1' ? ` ${unit}` : ''}`;
