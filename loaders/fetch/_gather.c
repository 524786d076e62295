/* Rows of bytes out of a shard into a batch, past the processor's cache.
 *
 * An ordinary store reads the cache line that it is about to overwrite, and puts out another that somebody wanted. A
 * batch is larger than the cache and is read next by a device, another core, or a model that streams through it: so a
 * streaming store, which does neither, saves a third of the memory's traffic.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define LINE 64    /* bytes of a cache line, which four stores fill */
#define AHEAD 1024 /* bytes: hardware prefetching ends with each page of a mapped file */

static void copy(char *to, const char *from, Py_ssize_t n)
{
    Py_ssize_t head = (Py_ssize_t)(-(uintptr_t)to % LINE);
    if (head > n)
        head = n;
    memcpy(to, from, head);
    for (to += head, from += head, n -= head; n >= LINE; to += LINE, from += LINE, n -= LINE) {
        const __m128i *in = (const __m128i *)from;
        __m128i *out = (__m128i *)to;
        _mm_prefetch(from + AHEAD, _MM_HINT_T0);
        __m128i first = _mm_loadu_si128(in), second = _mm_loadu_si128(in + 1);
        __m128i third = _mm_loadu_si128(in + 2), fourth = _mm_loadu_si128(in + 3);
        _mm_stream_si128(out, first);
        _mm_stream_si128(out + 1, second);
        _mm_stream_si128(out + 2, third);
        _mm_stream_si128(out + 3, fourth);
    }
    memcpy(to, from, n);
}

#define FINISH() _mm_sfence() /* streaming stores are not ordered before later ones by themselves */
#else
#define copy memcpy
#define FINISH()
#endif

/* Return the first i whose row lies outside of a buffer, or -1. */
static Py_ssize_t outside(const int64_t *begins, const int64_t *slots, Py_ssize_t n_rows, Py_ssize_t nbytes,
                          Py_ssize_t n_source, Py_ssize_t n_into)
{
    for (Py_ssize_t i = 0; i < n_rows; i++)
        if (begins[i] < 0 || begins[i] > n_source - nbytes || slots[i] < 0 || slots[i] >= n_into / nbytes)
            return i;
    return -1;
}

static PyObject *fill(Py_buffer *source, Py_buffer *begins, Py_buffer *into, Py_buffer *slots, Py_ssize_t nbytes)
{
    Py_ssize_t n_rows = begins->len / (Py_ssize_t)sizeof(int64_t);
    const int64_t *begin = begins->buf, *slot = slots->buf;
    if (nbytes <= 0 || begins->len != slots->len || begins->len % (Py_ssize_t)sizeof(int64_t))
        return PyErr_Format(PyExc_ValueError, "found %zd bytes of begins and %zd of slots for rows of %zd bytes",
                            begins->len, slots->len, nbytes);
    Py_ssize_t wrong = outside(begin, slot, n_rows, nbytes, source->len, into->len);
    if (wrong >= 0)
        return PyErr_Format(PyExc_ValueError, "found byte %lld of %zd for row %lld of %zd bytes in %zd",
                            (long long)begin[wrong], source->len, (long long)slot[wrong], nbytes, into->len);
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < n_rows; i++)
        copy((char *)into->buf + slot[i] * nbytes, (const char *)source->buf + begin[i], nbytes);
    FINISH();
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *gather(PyObject *module, PyObject *args)
{
    Py_buffer source, begins, into, slots;
    Py_ssize_t nbytes;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*w*y*n", &source, &begins, &into, &slots, &nbytes))
        return NULL;
    PyObject *result = fill(&source, &begins, &into, &slots, nbytes);
    PyBuffer_Release(&source);
    PyBuffer_Release(&begins);
    PyBuffer_Release(&into);
    PyBuffer_Release(&slots);
    return result;
}

static PyMethodDef methods[] = {
    {"gather", gather, METH_VARARGS, "See gather.py."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_gather", .m_doc = "See gather.py.", .m_size = 0, .m_methods = methods,
};

PyMODINIT_FUNC PyInit__gather(void)
{
    return PyModuleDef_Init(&definition);
}
