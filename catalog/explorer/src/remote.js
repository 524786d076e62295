// Byte ranges over HTTP, and what the browser says of them.

/** What could not be fetched, in one sentence. */
export class FetchError extends Error {}

async function ask(url, headers) {
  let answer;
  try {
    // Ranges of one file that may be kept wait for one another in Chromium's cache.
    answer = await fetch(url, headers ? { headers, cache: 'no-store' } : {});
  } catch {
    throw new FetchError(`${url} cannot be reached; is the server there, and does it allow this page (CORS)?`);
  }
  if (!answer.ok) throw new FetchError(`${url}: found status ${answer.status}, expected the file; is the dataset whole?`);
  return answer;
}

/** Return a JSON document; null where there is none and `optional`. */
export async function json(url, optional = false) {
  let answer;
  try {
    answer = await ask(url);
  } catch (error) {
    if (optional) return null;
    throw error;
  }
  try {
    return await answer.json();
  } catch {
    if (optional) return null;
    throw new FetchError(`${url} is no JSON; fetch the dataset again`);
  }
}

/** Return bytes `begin` to `end` (not included) of a file in one request. */
export async function range(url, begin, end) {
  const answer = await ask(url, { Range: `bytes=${begin}-${end - 1}` });
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const found = answer.status === 206 ? bytes : bytes.subarray(begin, end); // a server without ranges
  if (found.length !== end - begin) {
    throw new FetchError(`${url}: found ${found.length} bytes at ${begin}, expected ${end - begin}; the file was cut short: fetch it again`);
  }
  return found;
}

const TAIL = 1 << 19; // a small table comes whole, and the footer of a large one

/** Return a file as hyparquet reads it; its last bytes are at hand, and all of a small file. */
export async function parquetFile(url) {
  const answer = await ask(url, { Range: `bytes=-${TAIL}` });
  const tail = await answer.arrayBuffer();
  const said = /\/(\d+)$/.exec(answer.headers.get('Content-Range') ?? '')?.[1];
  let byteLength = tail.byteLength;
  if (answer.status === 206 && said) byteLength = Number(said);
  else if (answer.status === 206 && tail.byteLength === TAIL) { // another host may hide Content-Range
    byteLength = Number((await fetch(url, { method: 'HEAD' })).headers.get('Content-Length'));
  }
  const begin = byteLength - tail.byteLength;
  return {
    byteLength,
    async slice(from, to = byteLength) {
      if (from >= begin) return tail.slice(from - begin, to - begin);
      return (await range(url, from, to)).buffer;
    },
  };
}

/** Return the SHA-256 of bytes; null where the browser does not compute it (plain http). */
export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
