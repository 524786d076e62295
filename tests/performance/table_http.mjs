// node table_http.mjs NODE_MODULES URL row|columns INDEX|NAMES: what stock hyparquet fetches of a table.
const [modules, url, what, wanted] = process.argv.slice(2);
const { asyncBufferFromUrl, parquetMetadataAsync, parquetRead } = await import(`${modules}/hyparquet/src/node.js`);
const { decompress } = await import(`${modules}/fzstd/esm/index.mjs`);
const compressors = { ZSTD: (input, length) => decompress(input, new Uint8Array(length)) };
const file = await asyncBufferFromUrl({ url });
const metadata = await parquetMetadataAsync(file, { initialFetchSize: 1 << 18, geoparquet: false });
const how = { file, metadata, compressors, geoparquet: false, useOffsetIndex: true };
if (what === 'row') {
  const rowStart = Number(wanted);
  await parquetRead({ ...how, rowStart, rowEnd: rowStart + 1, rowFormat: 'object', onComplete: ([row]) => console.log(row.key) });
} else {
  let n = 0;
  await parquetRead({ ...how, columns: wanted.split(','), onPage: ({ columnData }) => { n += columnData.length; } });
  console.log(n);
}
