/* What happens at the n-th operation of a kind on files below $END_UNDER: $END_AT is `rename:7`, `unlink:2`, `write:30`
 * or `sync:3`. With $END_ERROR, a number of errno.h, this operation fails, and all later ones of the kind. Without it
 * the process ends: a name is not changed any more; of what is written, half is. How many of each there were stands in
 * the file $END_COUNTS after an ordinary end. $END_CLOCK is what the clock is off by, in s. Loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { RENAME, UNLINK, WRITE, SYNC, KINDS };
static const char *const names[] = {"rename", "unlink", "write", "sync"};
static atomic_int counts[KINDS];

/* Count an operation on an open file, or on a path; return whether it is what something happens at. */
static int is_last(int kind, int fd, const char *path) {
    char own[64], where[4096] = "";
    const char *under = getenv("END_UNDER"), *at = getenv("END_AT");
    if (!path || path[0] != '/') {
        snprintf(own, sizeof own, fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", fd);
        if (readlink(own, where, sizeof where - 1) < 0) return 0;
        path = where;
    }
    if (!under || strncmp(path, under, strlen(under))) return 0;
    int n = atomic_fetch_add(&counts[kind], 1) + 1;
    size_t length = strlen(names[kind]);
    if (!at || strncmp(at, names[kind], length)) return 0;
    return getenv("END_ERROR") ? n >= atoi(at + length + 1) : n == atoi(at + length + 1);
}

static int end(void) {
    const char *error = getenv("END_ERROR");
    if (!error) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    errno = atoi(error);
    return -1;
}

__attribute__((destructor)) static void tell(void) {
    const char *to = getenv("END_COUNTS");
    /* A process that did nothing, such as one that the build asks for the machine's name, has nothing to tell. */
    FILE *file = to && counts[WRITE] ? fopen(to, "w") : NULL;
    for (int kind = 0; file && kind < KINDS; kind++) fprintf(file, "%s %d\n", names[kind], counts[kind]);
    if (file) fclose(file);
}

int rename(const char *from, const char *to) {
    if (is_last(RENAME, AT_FDCWD, to)) return end();
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int folder, const char *path, int flags) {
    if (is_last(UNLINK, folder, path)) return end();
    return (int)syscall(SYS_unlinkat, folder, path, flags);
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

ssize_t write(int fd, const void *data, size_t n) {
    if (!is_last(WRITE, fd, NULL)) return syscall(SYS_write, fd, data, n);
    if (!getenv("END_ERROR")) syscall(SYS_write, fd, data, n / 2);
    return end();
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    if (!is_last(WRITE, fd, NULL)) return syscall(SYS_pwrite64, fd, data, n, at);
    if (!getenv("END_ERROR")) syscall(SYS_pwrite64, fd, data, n / 2, at);
    return end();
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return pwrite64(fd, data, n, at); }

int fsync(int fd) { return is_last(SYNC, fd, NULL) ? end() : (int)syscall(SYS_fsync, fd); }

int fdatasync(int fd) { return is_last(SYNC, fd, NULL) ? end() : (int)syscall(SYS_fdatasync, fd); }

int clock_gettime(clockid_t clock, struct timespec *now) {
    const char *off = getenv("END_CLOCK");
    int code = (int)syscall(SYS_clock_gettime, clock, now);
    if (!code && clock == CLOCK_REALTIME && off) now->tv_sec += atol(off);
    return code;
}
