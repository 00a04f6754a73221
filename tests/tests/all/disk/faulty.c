/* A disk that misbehaves, put before the C library (LD_PRELOAD): of the writes to files under `/data/` each Kth ends short, at half of
 * what it was given (FAULTY_SHORT=K), or finds the disk full (FAULTY_FULL=K), from the FAULTY_FROMth on. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_long n_writes;

static long setting(const char *name) {
  const char *text = getenv(name);
  return text ? atol(text) : 0;
}

static int is_ours(int fd) {
  char link[64], target[1024];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, target, sizeof target - 1);
  if (length < 0) return 0;
  target[length] = 0;
  return strstr(target, "/data/") != NULL;
}

/* How much of it is written; -1: none, the disk is full. */
static ssize_t granted(int fd, size_t count) {
  long each_short = setting("FAULTY_SHORT"), each_full = setting("FAULTY_FULL");
  if (count < 2 || !is_ours(fd)) return (ssize_t)count;
  long n = atomic_fetch_add(&n_writes, 1) + 1;
  if (n < setting("FAULTY_FROM")) return (ssize_t)count;
  if (each_full && n % each_full == 0) {
    errno = ENOSPC;
    return -1;
  }
  return each_short && n % each_short == 0 ? (ssize_t)(count / 2) : (ssize_t)count;
}

ssize_t write(int fd, const void *bytes, size_t count) {
  static ssize_t (*next)(int, const void *, size_t);
  if (!next) next = dlsym(RTLD_NEXT, "write");
  ssize_t some = granted(fd, count);
  return some < 0 ? -1 : next(fd, bytes, (size_t)some);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
  static ssize_t (*next)(int, const void *, size_t, off64_t);
  if (!next) next = dlsym(RTLD_NEXT, "pwrite64");
  ssize_t some = granted(fd, count);
  return some < 0 ? -1 : next(fd, bytes, (size_t)some, at);
}
