// From UTM to longitude and latitude: Krüger's series to the fourth order, below a millimetre here.

const A = 6378137;
const F = 1 / 298.257223563;
const N = F / (2 - F);
const RADIUS = A / (1 + N) * (1 + N ** 2 / 4 + N ** 4 / 64);
const BETA = [
  N / 2 - 2 * N ** 2 / 3 + 37 * N ** 3 / 96 - N ** 4 / 360,
  N ** 2 / 48 + N ** 3 / 15 - 437 * N ** 4 / 1440,
  17 * N ** 3 / 480 - 37 * N ** 4 / 840,
  4397 * N ** 4 / 161280,
];
const DELTA = [
  2 * N - 2 * N ** 2 / 3 - 2 * N ** 3 + 116 * N ** 4 / 45,
  7 * N ** 2 / 3 - 8 * N ** 3 / 5 - 227 * N ** 4 / 45,
  56 * N ** 3 / 15 - 136 * N ** 4 / 35,
  4279 * N ** 4 / 630,
];

/** Return [longitude, latitude] in degrees of a place in EPSG:326xx or 327xx. */
export function degrees(epsg, easting, northing) {
  const zone = epsg % 100;
  const isSouth = Math.floor(epsg / 100) === 327;
  const xi = (northing - (isSouth ? 10000000 : 0)) / (0.9996 * RADIUS);
  const eta = (easting - 500000) / (0.9996 * RADIUS);
  let x = xi;
  let e = eta;
  BETA.forEach((beta, i) => {
    const j = 2 * (i + 1);
    x -= beta * Math.sin(j * xi) * Math.cosh(j * eta);
    e -= beta * Math.cos(j * xi) * Math.sinh(j * eta);
  });
  const chi = Math.asin(Math.sin(x) / Math.cosh(e));
  const lat = DELTA.reduce((sum, delta, i) => sum + delta * Math.sin(2 * (i + 1) * chi), chi);
  const lon = (zone * 6 - 183) + Math.atan2(Math.sinh(e), Math.cos(x)) * 180 / Math.PI;
  return [(lon + 540) % 360 - 180, lat * 180 / Math.PI];
}
