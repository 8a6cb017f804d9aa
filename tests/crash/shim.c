// SPDX-License-Identifier: Apache-2.0
// Loaded before libc (LD_PRELOAD): one chosen call that changes a file below a folder fails, is cut short, or kills the process.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, FULL, BROKEN, SHORT, KILL };

static char folder[PATH_MAX];
static int chosen, kind, count;  // the call that fails, how, and how many there were

// From Python, by ctypes: begins to count. call 0 lets all through.
void shim_begin(const char* below, int call, int how) {
  snprintf(folder, sizeof folder, "%s", below);
  chosen = call, kind = how, count = 0;
}

int shim_count(void) { return count; }

static int is_below(const char* path) { return folder[0] && strncmp(path, folder, strlen(folder)) == 0; }

static int is_of(int descriptor) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = folder[0] ? readlink(link, path, sizeof path - 1) : -1;
  if (length < 0) return 0;
  path[length] = 0;
  return is_below(path);
}

// Whether this call is the one; of `kinds` that mean nothing to it, it goes through.
static int fails(int counts) {
  if (!counts || ++count != chosen) return NOTHING;
  if (kind == KILL) kill(getpid(), SIGKILL);
  if (kind == FULL || kind == BROKEN) errno = kind == FULL ? ENOSPC : EIO;
  return kind;
}

#define NEXT(name) \
  static __typeof__(name)* next; \
  if (!next) next = (__typeof__(name)*)dlsym(RTLD_NEXT, #name)
#define REFUSE(counts)                                 \
  const int how = fails(counts);                       \
  if (how == FULL || how == BROKEN) return -1

ssize_t write(int descriptor, const void* data, size_t size) {
  NEXT(write);
  REFUSE(is_of(descriptor));
  return next(descriptor, data, how == SHORT && size > 1 ? size / 2 : size);
}

ssize_t pwrite64(int descriptor, const void* data, size_t size, off64_t at) {
  NEXT(pwrite64);
  REFUSE(is_of(descriptor));
  return next(descriptor, data, how == SHORT && size > 1 ? size / 2 : size, at);
}

ssize_t writev(int descriptor, const struct iovec* parts, int many) {
  NEXT(writev);
  REFUSE(is_of(descriptor));
  return next(descriptor, parts, how == SHORT && many > 1 ? 1 : many);
}

int fsync(int descriptor) {
  NEXT(fsync);
  REFUSE(is_of(descriptor));
  return next(descriptor);
}

int rename(const char* from, const char* to) {
  NEXT(rename);
  REFUSE(is_below(to));
  return next(from, to);
}

int renameat2(int a, const char* from, int b, const char* to, unsigned flags) {
  NEXT(renameat2);
  REFUSE(is_below(to));
  return next(a, from, b, to, flags);
}

int mkdir(const char* path, mode_t mode) {
  NEXT(mkdir);
  REFUSE(is_below(path));
  return next(path, mode);
}

int link(const char* from, const char* to) {
  NEXT(link);
  REFUSE(is_below(to));
  return next(from, to);
}

static int is_written(const char* path, int flags) { return (flags & (O_WRONLY | O_RDWR)) != 0 && is_below(path); }

#define OPEN(name)                                          \
  int name(const char* path, int flags, ...) {              \
    NEXT(name);                                             \
    va_list rest;                                           \
    va_start(rest, flags);                                  \
    const mode_t mode = va_arg(rest, mode_t);               \
    va_end(rest);                                           \
    REFUSE(is_written(path, flags));                        \
    return next(path, flags, mode);                         \
  }
OPEN(open)
OPEN(open64)
