// A plain GeoTIFF: uncompressed, one strip a band, in the tile's own UTM zone.

const FORMATS = { u: 1, i: 2, f: 3 };
const SIZES = { 2: 1, 3: 2, 4: 4, 12: 8 }; // of text, short, long, double

/** Return the bytes of a GeoTIFF of (band, row, column) values. */
export function encodeTiff({ values, dtype, bands, pixels, resolution, epsg, left, top, nodata }) {
  const kind = dtype.startsWith('u') ? 'u' : dtype[0] === 'i' ? 'i' : 'f';
  const size = values.BYTES_PER_ELEMENT;
  const strip = pixels * pixels * size;
  const n = bands.length;
  const each = (value) => new Array(n).fill(value);
  const tags = [
    [256, 4, [pixels]], [257, 4, [pixels]], [258, 3, each(8 * size)], [259, 3, [1]], [262, 3, [1]],
    [273, 4, each(0)], [277, 3, [n]], [278, 4, [pixels]], [279, 4, each(strip)], [284, 3, [2]], [339, 3, each(FORMATS[kind])],
    [33550, 12, [resolution, resolution, 0]], [33922, 12, [0, 0, 0, left, top, 0]],
    [34735, 3, [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, epsg]],
    [42112, 2, text(metadata(bands))],
    ...(nodata === null || nodata === undefined ? [] : [[42113, 2, text(String(nodata))]]),
  ];
  if (n > 1) tags.splice(10, 0, [338, 3, new Array(n - 1).fill(0)]); // the other bands are no colours
  const head = 8 + 2 + 12 * tags.length + 4;
  let begin = head;
  for (const [, type, data] of tags) if (data.length * SIZES[type] > 4) begin += even(data.length * SIZES[type]);
  begin = Math.ceil(begin / 8) * 8;
  tags.find(([tag]) => tag === 273)[2] = each(0).map((_, i) => begin + i * strip);
  const out = new Uint8Array(begin + n * strip);
  writeDirectory(new DataView(out.buffer), tags, head);
  out.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), begin);
  return out;
}

const even = (length) => length + length % 2;
const text = (value) => [...new TextEncoder().encode(value), 0];

function metadata(bands) {
  const safe = (value) => String(value).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
  const items = bands.flatMap((band, i) => [
    `<Item name="DESCRIPTION" sample="${i}" role="description">${safe(band.name)}</Item>`,
    `<Item name="UNITTYPE" sample="${i}" role="unittype">${safe(band.unit)}</Item>`,
    `<Item name="SCALE" sample="${i}" role="scale">${band.scale}</Item>`,
    `<Item name="OFFSET" sample="${i}" role="offset">${band.offset}</Item>`,
  ]);
  return `<GDALMetadata>${items.join('')}</GDALMetadata>`;
}

function writeDirectory(view, tags, head) {
  view.setUint16(0, 0x4949, true);
  view.setUint16(2, 42, true);
  view.setUint32(4, 8, true);
  view.setUint16(8, tags.length, true);
  let far = head;
  tags.forEach(([tag, type, data], i) => {
    const at = 10 + 12 * i;
    view.setUint16(at, tag, true);
    view.setUint16(at + 2, type, true);
    view.setUint32(at + 4, data.length, true);
    const length = data.length * SIZES[type];
    let to = at + 8;
    if (length > 4) { view.setUint32(to, far, true); to = far; far += even(length); }
    data.forEach((value, j) => write(view, type, to + j * SIZES[type], value));
  });
}

function write(view, type, at, value) {
  if (type === 2) view.setUint8(at, value);
  else if (type === 3) view.setUint16(at, value, true);
  else if (type === 4) view.setUint32(at, value, true);
  else view.setFloat64(at, value, true);
}
