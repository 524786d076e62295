/* Rows of bytes out of a shard into a batch, past the processor's cache.
 *
 * An ordinary store reads the cache line that it is about to overwrite, and puts out another that somebody wanted. A
 * batch is larger than the cache and is read next by a device, another core, or a model that streams through it: so a
 * streaming store, which does neither, saves a third of the memory's traffic.
 *
 * A shard is a mapped file: to read a page that it no longer has is SIGBUS, which becomes an error here.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <errno.h>
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

/* The same for bytes that somebody looks at next: into the cache, in registers, as `memcpy` (`rep movsb`) takes half as
 * long again from pages of 4 kB. */
static void keep(char *to, const char *from, Py_ssize_t n)
{
    for (; n >= LINE; to += LINE, from += LINE, n -= LINE) {
        const __m128i *in = (const __m128i *)from;
        __m128i *out = (__m128i *)to;
        __m128i first = _mm_loadu_si128(in), second = _mm_loadu_si128(in + 1);
        __m128i third = _mm_loadu_si128(in + 2), fourth = _mm_loadu_si128(in + 3);
        _mm_storeu_si128(out, first);
        _mm_storeu_si128(out + 1, second);
        _mm_storeu_si128(out + 2, third);
        _mm_storeu_si128(out + 3, fourth);
    }
    memcpy(to, from, n);
}

#define FINISH() _mm_sfence() /* streaming stores are not ordered before later ones by themselves */
#else
#define copy memcpy
#define keep memcpy
#define FINISH()
#endif

#define BLOCK 256   /* values: a band is whole blocks, and loops of a known length become vector instructions */
#define PIECE 16384 /* values of a band whose masks are made before those of the next: two stay in the first cache */

#define DIFFER(type)                                                                                                   \
    do {                                                                                                               \
        const type *value = (const type *)values;                                                                      \
        type none;                                                                                                     \
        memcpy(&none, nodata, sizeof none);                                                                            \
        for (; n > 0; n -= BLOCK, value += BLOCK, valid += BLOCK)                                                      \
            for (int i = 0; i < BLOCK; i++)                                                                            \
                valid[i] = value[i] != none;                                                                           \
    } while (0)

/* Write which of n values are not no-data, bit for bit. */
static void differ(unsigned char *valid, const char *values, Py_ssize_t n, const void *nodata, Py_ssize_t itemsize)
{
    if (itemsize == 1)
        DIFFER(uint8_t);
    else if (itemsize == 2)
        DIFFER(uint16_t);
    else if (itemsize == 4)
        DIFFER(uint32_t);
    else
        DIFFER(uint64_t);
}

/* Copy a row of bands of `band` values, and write where each is valid while it is in the cache; return whether all
 * bands agree. */
static int look(char *to, const char *from, Py_ssize_t nbytes, char *valid, Py_ssize_t band, const void *nodata,
                Py_ssize_t itemsize)
{
    unsigned char first[PIECE], other[PIECE];
    int agree = 1;
    for (Py_ssize_t begin = 0; begin < band; begin += PIECE) {
        Py_ssize_t n = band - begin < PIECE ? band - begin : PIECE;
        for (Py_ssize_t at = begin; at < nbytes / itemsize; at += band) {
            unsigned char *mask = at == begin ? first : other;
            copy(to + at * itemsize, from + at * itemsize, n * itemsize);
            differ(mask, from + at * itemsize, n, nodata, itemsize);
            copy(valid + at, (const char *)mask, n);
            agree = agree && (at == begin || !memcmp(first, other, n));
        }
    }
    return agree;
}

typedef struct {
    Py_buffer source, begins, into, slots;
    Py_ssize_t nbytes;
    Py_buffer nodata, valid; /* empty where nobody looks; else valid has four axes */
    int stays;               /* what is copied stays in the processor's cache */
} Job;

/* Return how many values a band has whose masks are wanted. */
static Py_ssize_t band_of(const Job *job)
{
    return job->valid.shape[2] * job->valid.shape[3];
}

/* Return whether a job stays within its buffers; set an error where it does not. */
static int fits(const Job *job)
{
    const int64_t *begin = job->begins.buf, *slot = job->slots.buf;
    Py_ssize_t n_rows = job->begins.len / (Py_ssize_t)sizeof(int64_t), nbytes = job->nbytes, size = job->nodata.len;
    if (nbytes <= 0 || job->begins.len != job->slots.len || job->begins.len % (Py_ssize_t)sizeof(int64_t)) {
        PyErr_Format(PyExc_ValueError, "found %zd bytes of begins and %zd of slots for rows of %zd bytes",
                     job->begins.len, job->slots.len, nbytes);
        return 0;
    }
    Py_ssize_t n_slots = job->into.len / nbytes;
    if (job->valid.buf) {
        if (job->valid.ndim != 4 || (size != 1 && size != 2 && size != 4 && size != 8) || band_of(job) % BLOCK ||
            nbytes != job->valid.shape[1] * band_of(job) * size) {
            PyErr_Format(PyExc_ValueError, "found values of %zd bytes for rows of %zd bytes, which are not whole bands",
                         size, nbytes);
            return 0;
        }
        if (job->valid.shape[0] < n_slots)
            n_slots = job->valid.shape[0];
    }
    for (Py_ssize_t i = 0; i < n_rows; i++)
        if (begin[i] < 0 || begin[i] % 8 || begin[i] > job->source.len - nbytes || slot[i] < 0 || slot[i] >= n_slots) {
            PyErr_Format(PyExc_ValueError, "found byte %lld of %zd for row %lld of %zd, of %zd bytes each",
                         (long long)begin[i], job->source.len, (long long)slot[i], n_slots, nbytes);
            return 0;
        }
    return 1;
}

/* Copy all rows of a job; return whether the bands of each agree where one looks. */
static int work(const Job *job)
{
    const int64_t *begin = job->begins.buf, *slot = job->slots.buf;
    Py_ssize_t n_rows = job->begins.len / (Py_ssize_t)sizeof(int64_t), nbytes = job->nbytes, size = job->nodata.len;
    int agree = 1;
    for (Py_ssize_t i = 0; i < n_rows; i++) {
        char *to = (char *)job->into.buf + slot[i] * nbytes;
        const char *from = (const char *)job->source.buf + begin[i];
        if (job->valid.buf)
            agree &= look(to, from, nbytes, (char *)job->valid.buf + slot[i] * (nbytes / size), band_of(job),
                          job->nodata.buf, size);
        else
            (job->stays ? keep : copy)(to, from, nbytes);
    }
    FINISH();
    return agree;
}

#if defined(_WIN32)
#define handle_lost_pages() 1 /* Windows refuses to truncate a mapped file */
#define work_or_lose work
#else
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>

typedef struct {
    sigjmp_buf back;
    const char *begin, *end; /* of the source */
} Copying;

static _Thread_local Copying *volatile copying; /* by this thread */
static struct sigaction others;                 /* what was done of SIGBUS before */

/* Leave the copy that this thread was at. If it was something else, whoever was asked before is asked again: by the
 * same instruction, or by the signal itself where another process sent it. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    const char *at = info->si_addr;
    int is_fault = info->si_code > 0 && info->si_code != SI_USER;
    (void)context;
    if (copying && is_fault && at >= copying->begin && at < copying->end)
        siglongjmp(copying->back, 1);
    sigaction(number, &others, NULL);
    others.sa_handler = SIG_DFL; /* who hands on to us what we hand on to him ends there */
    others.sa_flags = 0;
    if (!is_fault)
        raise(number);
}

/* See to it that SIGBUS comes here, whoever else has asked for it meanwhile; return whether it does. The interpreter's
 * lock is held. */
static int handle_lost_pages(void)
{
    struct sigaction ours = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_NODEFER}, now;
    if (sigaction(SIGBUS, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_bus_error)
        return 1;
    others = now;
    return sigaction(SIGBUS, &ours, NULL) == 0;
}

/* Do what `work` does; return -1 where a page of the source has gone. */
static int work_or_lose(const Job *job)
{
    Copying here = {.begin = job->source.buf, .end = (const char *)job->source.buf + job->source.len};
    if (sigsetjmp(here.back, 0)) { /* the mask need not be restored: nothing is blocked meanwhile */
        copying = NULL;
        FINISH();
        return -1;
    }
    copying = &here;
    atomic_signal_fence(memory_order_seq_cst); /* no copying before, none after */
    int agree = work(job);
    atomic_signal_fence(memory_order_seq_cst);
    copying = NULL;
    return agree;
}
#endif

static void let_go(Job *job)
{
    PyBuffer_Release(&job->source);
    PyBuffer_Release(&job->begins);
    PyBuffer_Release(&job->into);
    PyBuffer_Release(&job->slots);
    PyBuffer_Release(&job->nodata); /* nothing, where it is empty */
    PyBuffer_Release(&job->valid);
}

/* Do a job and let go of its buffers; return what `work` does, or -1 with an error set. */
static int run(Job *job)
{
    int agree = -1;
    if (fits(job)) {
        Py_BEGIN_ALLOW_THREADS
        agree = work_or_lose(job);
        Py_END_ALLOW_THREADS
        if (agree < 0) {
            errno = EIO;
            PyErr_SetFromErrno(PyExc_OSError);
        }
    }
    let_go(job);
    return agree;
}

static PyObject *gather(PyObject *module, PyObject *args)
{
    Job job = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*w*y*n", &job.source, &job.begins, &job.into, &job.slots, &job.nbytes))
        return NULL;
    return run(&job) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *copy_one(PyObject *module, PyObject *args)
{
    Job job = {.stays = 1};
    long long at;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*Lw*", &job.source, &at, &job.into))
        return NULL;
    int64_t begin = at, slot = 0;
    job.begins.buf = &begin, job.begins.len = sizeof begin;
    job.slots.buf = &slot, job.slots.len = sizeof slot;
    job.nbytes = job.into.len;
    return run(&job) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *gather_and_look(PyObject *module, PyObject *args)
{
    Job job = {0};
    PyObject *valid;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*w*y*ny*O", &job.source, &job.begins, &job.into, &job.slots, &job.nbytes,
                          &job.nodata, &valid))
        return NULL;
    /* With its shape, which a buffer of "w*" does not have. */
    if (PyObject_GetBuffer(valid, &job.valid, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS) < 0) {
        let_go(&job);
        return NULL;
    }
    int agree = run(&job);
    return agree < 0 ? NULL : PyBool_FromLong(agree);
}

static PyObject *guard(PyObject *module, PyObject *none)
{
    (void)module, (void)none;
    return handle_lost_pages() ? Py_NewRef(Py_None) : PyErr_SetFromErrno(PyExc_OSError);
}

static PyMethodDef methods[] = {
    {"guard", guard, METH_NOARGS, "See gather.py."},
    {"gather", gather, METH_VARARGS, "See gather.py."},
    {"copy_one", copy_one, METH_VARARGS, "See gather.py."},
    {"gather_and_look", gather_and_look, METH_VARARGS, "See gather.py."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_gather", .m_doc = "See gather.py.", .m_size = 0, .m_methods = methods,
};

PyMODINIT_FUNC PyInit__gather(void)
{
    return PyModuleDef_Init(&definition);
}
