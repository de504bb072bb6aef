/* Stands between a program and its C library (LD_PRELOAD). For the files below one folder it writes down, in the order in
 * which they happen, all calls that change them or make them durable, so that the disk can be rebuilt as a power cut at
 * any of them would leave it. It can also let that folder run full, and set the wall clock wrong.
 *
 * CRASH_ROOT     the folder, absolute, without links
 * CRASH_LOG      the file that the calls are written to; absent: none are
 * CRASH_CONTROL  a file of `struct control`, shared with the test
 *
 * A process that was forked calls `crash_begin` after it has changed these.
 *
 * What it does not see (mmap, io_uring, stdio) is found by the test that rebuilds the whole folder from the log. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Each is a pair of 64-bit numbers, so that Python can map it as an array; tests/crash/shim.py has the same order. */
struct control {
    int64_t clock_offset_s;
    int64_t growths;      /* calls that took room on the disk so far */
    int64_t full_from;    /* the number of the first that finds no room; -1: none */
    int64_t refusals;     /* calls that found no room so far */
    int64_t full_until;   /* so many refusals, and there is room again; -1: only when the test says so */
    int64_t budget_bytes; /* room that was given back while the disk was full */
};

enum op { CREATE = 1, WRITE, TRUNCATE, SYNC, SYNC_FOLDER, RENAME, LINK, SYMLINK, UNLINK, MKDIR, RMDIR, NOTE };

struct head {
    uint32_t size; /* of the whole record */
    uint16_t op;
    uint16_t path_size;
    uint32_t other_size;
    uint32_t data_size;
    int64_t inode;
    int64_t offset;
    int64_t pid;
};

static char root[PATH_MAX];
static size_t root_size;
static int log_fd = -1;
static struct control *control;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name)                                                                         \
    ({                                                                                     \
        if (!real_##name) real_##name = (__typeof__(real_##name))dlsym(RTLD_NEXT, #name); \
        real_##name;                                                                       \
    })
#define DECLARE(result, name, ...) static result (*real_##name)(__VA_ARGS__)

DECLARE(ssize_t, write, int, const void *, size_t);
DECLARE(ssize_t, writev, int, const struct iovec *, int);
DECLARE(ssize_t, pwrite64, int, const void *, size_t, off64_t);
DECLARE(ssize_t, pwritev64, int, const struct iovec *, int, off64_t);
DECLARE(ssize_t, sendfile64, int, int, off64_t *, size_t);
DECLARE(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
DECLARE(int, ftruncate64, int, off64_t);
DECLARE(int, fallocate64, int, int, off64_t, off64_t);
DECLARE(int, posix_fallocate64, int, off64_t, off64_t);
DECLARE(int, fsync, int);
DECLARE(int, fdatasync, int);
DECLARE(int, openat64, int, const char *, int, ...);
DECLARE(int, renameat2, int, const char *, int, const char *, unsigned);
DECLARE(int, linkat, int, const char *, int, const char *, int);
DECLARE(int, symlinkat, const char *, int, const char *);
DECLARE(int, unlinkat, int, const char *, int);
DECLARE(int, mkdirat, int, const char *, mode_t);
DECLARE(int, statvfs64, const char *, struct statvfs64 *);
DECLARE(int, clock_gettime, clockid_t, struct timespec *);
DECLARE(int, gettimeofday, struct timeval *, void *);

__attribute__((constructor)) void crash_begin(void) {
    const char *folder = getenv("CRASH_ROOT"), *log = getenv("CRASH_LOG"), *shared = getenv("CRASH_CONTROL");
    if (shared) {
        int fd = syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CLOEXEC);
        void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        syscall(SYS_close, fd);
        if (mapped != MAP_FAILED) control = mapped;
    }
    if (!folder || strlen(folder) >= sizeof root) return;
    if (log) {
        int fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        /* High up, out of the way of programs that expect certain numbers. */
        log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 700);
        syscall(SYS_close, fd);
    }
    strcpy(root, folder);
    root_size = strlen(root);
}

static int below(const char *path) {
    return root_size && strncmp(path, root, root_size) == 0 && (path[root_size] == '/' || path[root_size] == 0);
}

static int path_of(int fd, char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return 1;
}

/* The absolute form of a path; false where it is none of ours. */
static int resolve(int folder, const char *name, char *path) {
    if (!root_size || !name) return 0;
    size_t n = 0;
    if (name[0] != '/') {
        if (folder == AT_FDCWD ? syscall(SYS_getcwd, path, PATH_MAX) < 0 : !path_of(folder, path)) return 0;
        n = strlen(path);
        path[n++] = '/';
    }
    if (n + strlen(name) >= PATH_MAX) return 0;
    strcpy(path + n, name);
    return below(path);
}

static int ours(int fd) {
    char path[PATH_MAX];
    struct stat found;
    if (!root_size || !path_of(fd, path) || !below(path)) return 0;
    return fstat(fd, &found) == 0 && (S_ISREG(found.st_mode) || S_ISDIR(found.st_mode));
}

static int64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 ? (int64_t)found.st_ino : -1;
}

static int64_t size_of(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 ? (int64_t)found.st_size : 0;
}

static void take(void) {
    pthread_mutex_lock(&mutex);
    if (log_fd >= 0) flock(log_fd, LOCK_EX);
}

static void give(void) {
    int saved = errno;
    if (log_fd >= 0) flock(log_fd, LOCK_UN);
    pthread_mutex_unlock(&mutex);
    errno = saved;
}

static void record(enum op op, const char *path, const char *other, int64_t inode, int64_t offset, const void *data,
                   size_t data_size) {
    if (log_fd < 0) return;
    int saved = errno;
    struct head head = {0};
    head.op = op;
    head.path_size = strlen(path);
    head.other_size = strlen(other);
    head.data_size = data_size;
    head.size = sizeof head + head.path_size + head.other_size + data_size;
    head.inode = inode;
    head.offset = offset;
    head.pid = getpid();
    struct iovec parts[4] = {{&head, sizeof head},
                             {(void *)path, head.path_size},
                             {(void *)other, head.other_size},
                             {(void *)data, data_size}};
    if (syscall(SYS_writev, log_fd, parts, 4) != (ssize_t)head.size) abort();
    errno = saved;
}

/* Says in the log that something happened, at its place among the calls. */
void crash_note(const char *text, size_t size) {
    take();
    record(NOTE, "", "", 0, 0, text, size);
    give();
}

/* Tells whether there is room for `size` more bytes, and takes it. */
static int has_room(int64_t size) {
    if (!control || size <= 0) return 1;
    int64_t number = __atomic_fetch_add(&control->growths, 1, __ATOMIC_SEQ_CST);
    if (control->full_from < 0 || number < control->full_from) return 1;
    if (control->full_until >= 0 && control->refusals >= control->full_until) return 1;
    if (control->budget_bytes >= size) {
        control->budget_bytes -= size;
        return 1;
    }
    __atomic_fetch_add(&control->refusals, 1, __ATOMIC_SEQ_CST);
    errno = ENOSPC;
    return 0;
}

static int is_full(void) {
    return control && control->full_from >= 0 && control->growths > control->full_from &&
           (control->full_until < 0 || control->refusals < control->full_until);
}

static void give_back(const char *path) {
    struct stat found;
    if (control && fstatat(AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(found.st_mode) &&
        found.st_nlink == 1)
        control->budget_bytes += is_full() ? found.st_size : 0;
}

/* --- contents ---------------------------------------------------------------------------------------------------- */

static ssize_t written(int fd, const void *data, ssize_t n, int64_t offset) {
    if (n > 0) record(WRITE, "", "", inode_of(fd), offset, data, n);
    return n;
}

/* What was written by a call that does not say what: as it lies there now. */
static void written_there(int fd, int64_t offset, ssize_t n) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    void *data = n > 0 ? malloc(n) : NULL;
    int reader = data ? syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC) : -1;
    if (reader >= 0 && syscall(SYS_pread64, reader, data, n, offset) == n) written(fd, data, n, offset);
    if (reader >= 0) syscall(SYS_close, reader);
    free(data);
}

/* Where a `write` to this descriptor begins. */
static int64_t place_of(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags & O_APPEND ? size_of(fd) : (int64_t)lseek64(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *data, size_t n) {
    if (!ours(fd)) return REAL(write)(fd, data, n);
    take();
    int64_t offset = place_of(fd);
    ssize_t done = -1;
    if (has_room(offset + (int64_t)n - size_of(fd)))
        done = written(fd, data, REAL(write)(fd, data, n), offset);
    else if (n > 1 && control->refusals == 1)
        /* As a disk that runs full in the midst of a write: a part of it fits. The next call gets the error. */
        done = written(fd, data, REAL(write)(fd, data, n / 2), offset);
    give();
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!ours(fd)) return REAL(writev)(fd, parts, count);
    take();
    int64_t offset = place_of(fd), size = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    ssize_t done = -1;
    if (has_room(offset + size - size_of(fd))) {
        done = REAL(writev)(fd, parts, count);
        written_there(fd, offset, done);
    }
    give();
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset) {
    if (!ours(fd)) return REAL(pwrite64)(fd, data, n, offset);
    take();
    ssize_t done = -1;
    if (has_room(offset + (int64_t)n - size_of(fd))) done = written(fd, data, REAL(pwrite64)(fd, data, n, offset), offset);
    give();
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset) { return pwrite64(fd, data, n, offset); }

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    if (!ours(fd)) return REAL(pwritev64)(fd, parts, count, offset);
    take();
    ssize_t done = -1;
    if (has_room(1)) {
        done = REAL(pwritev64)(fd, parts, count, offset);
        written_there(fd, offset, done);
    }
    give();
    return done;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev64(fd, parts, count, offset);
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t n) {
    if (!ours(to)) return REAL(sendfile64)(to, from, offset, n);
    take();
    int64_t place = place_of(to);
    ssize_t done = -1;
    if (has_room(1)) {
        done = REAL(sendfile64)(to, from, offset, n);
        written_there(to, place, done);
    }
    give();
    return done;
}

ssize_t sendfile(int to, int from, off_t *offset, size_t n) { return sendfile64(to, from, (off64_t *)offset, n); }

ssize_t copy_file_range(int from, off64_t *in, int to, off64_t *out, size_t n, unsigned flags) {
    if (!ours(to)) return REAL(copy_file_range)(from, in, to, out, n, flags);
    take();
    int64_t place = out ? *out : place_of(to);
    ssize_t done = -1;
    if (has_room(1)) {
        done = REAL(copy_file_range)(from, in, to, out, n, flags);
        written_there(to, place, done);
    }
    give();
    return done;
}

int ftruncate64(int fd, off64_t size) {
    if (!ours(fd)) return REAL(ftruncate64)(fd, size);
    take();
    int64_t before = size_of(fd);
    int done = has_room(size - before) ? REAL(ftruncate64)(fd, size) : -1;
    if (done == 0) {
        record(TRUNCATE, "", "", inode_of(fd), size, "", 0);
        if (is_full() && size < before) control->budget_bytes += before - size;
    }
    give();
    return done;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int allocated(int fd, int mode, off64_t offset, off64_t size, int done) {
    if (done == 0 && !(mode & 1 /* FALLOC_FL_KEEP_SIZE */)) record(TRUNCATE, "", "", inode_of(fd), size_of(fd), "", 0);
    (void)offset, (void)size;
    return done;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
    if (!ours(fd)) return REAL(fallocate64)(fd, mode, offset, size);
    take();
    int done = -1;
    if (has_room(offset + size - size_of(fd)))
        done = allocated(fd, mode, offset, size, REAL(fallocate64)(fd, mode, offset, size));
    give();
    return done;
}

int fallocate(int fd, int mode, off_t offset, off_t size) { return fallocate64(fd, mode, offset, size); }

int posix_fallocate64(int fd, off64_t offset, off64_t size) {
    if (!ours(fd)) return REAL(posix_fallocate64)(fd, offset, size);
    take();
    int done = ENOSPC;
    if (has_room(offset + size - size_of(fd)))
        done = allocated(fd, 0, offset, size, REAL(posix_fallocate64)(fd, offset, size));
    give();
    return done;
}

int posix_fallocate(int fd, off_t offset, off_t size) { return posix_fallocate64(fd, offset, size); }

/* --- what makes durable ------------------------------------------------------------------------------------------- */

static int synced(int fd, int done) {
    struct stat found;
    char path[PATH_MAX] = "";
    if (done == 0 && fstat(fd, &found) == 0) {
        int is_folder = S_ISDIR(found.st_mode);
        if (is_folder) path_of(fd, path);
        record(is_folder ? SYNC_FOLDER : SYNC, path, "", found.st_ino, 0, "", 0);
    }
    return done;
}

int fsync(int fd) {
    if (!ours(fd)) return REAL(fsync)(fd);
    take();
    int done = synced(fd, REAL(fsync)(fd));
    give();
    return done;
}

int fdatasync(int fd) {
    if (!ours(fd)) return REAL(fdatasync)(fd);
    take();
    int done = synced(fd, REAL(fdatasync)(fd));
    give();
    return done;
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static int open_at(int folder, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    int changes = (flags & (O_CREAT | O_TRUNC)) && (flags & O_TMPFILE) != O_TMPFILE;
    if (!changes || !resolve(folder, name, path)) return REAL(openat64)(folder, name, flags, mode);
    take();
    struct stat before;
    int existed = fstatat(folder, name, &before, 0) == 0;
    int fd = existed || has_room(1) ? REAL(openat64)(folder, name, flags, mode) : -1;
    if (fd >= 0 && !existed)
        record(CREATE, path, "", inode_of(fd), 0, "", 0);
    else if (fd >= 0 && (flags & O_TRUNC) && before.st_size > 0)
        record(TRUNCATE, "", "", before.st_ino, 0, "", 0);
    give();
    return fd;
}

#define MODE(flags)                                    \
    mode_t mode = 0;                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {             \
        va_list arguments;                             \
        va_start(arguments, flags);                    \
        mode = va_arg(arguments, int);                 \
        va_end(arguments);                             \
    }

int open(const char *name, int flags, ...) {
    MODE(flags)
    return open_at(AT_FDCWD, name, flags, mode);
}

int open64(const char *name, int flags, ...) {
    MODE(flags)
    return open_at(AT_FDCWD, name, flags, mode);
}

int openat(int folder, const char *name, int flags, ...) {
    MODE(flags)
    return open_at(folder, name, flags, mode);
}

int openat64(int folder, const char *name, int flags, ...) {
    MODE(flags)
    return open_at(folder, name, flags, mode);
}

int creat(const char *name, mode_t mode) { return open_at(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int creat64(const char *name, mode_t mode) { return creat(name, mode); }

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    char old_path[PATH_MAX], new_path[PATH_MAX];
    int is_ours = resolve(from, old, old_path);
    is_ours = resolve(to, new, new_path) && is_ours;
    if (!is_ours) return REAL(renameat2)(from, old, to, new, flags);
    take();
    give_back(new_path);
    int done = REAL(renameat2)(from, old, to, new, flags);
    if (done == 0) record(RENAME, old_path, new_path, 0, 0, "", 0);
    give();
    return done;
}

int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }

int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }

int linkat(int from, const char *old, int to, const char *new, int flags) {
    char old_path[PATH_MAX], new_path[PATH_MAX];
    int is_ours = resolve(from, old, old_path);
    is_ours = resolve(to, new, new_path) && is_ours;
    if (!is_ours) return REAL(linkat)(from, old, to, new, flags);
    take();
    int done = has_room(1) ? REAL(linkat)(from, old, to, new, flags) : -1;
    if (done == 0) record(LINK, old_path, new_path, 0, 0, "", 0);
    give();
    return done;
}

int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

int symlinkat(const char *text, int folder, const char *name) {
    char path[PATH_MAX];
    if (!resolve(folder, name, path)) return REAL(symlinkat)(text, folder, name);
    take();
    int done = has_room(1) ? REAL(symlinkat)(text, folder, name) : -1;
    if (done == 0) record(SYMLINK, path, text, 0, 0, "", 0);
    give();
    return done;
}

int symlink(const char *text, const char *name) { return symlinkat(text, AT_FDCWD, name); }

int unlinkat(int folder, const char *name, int flags) {
    char path[PATH_MAX];
    if (!resolve(folder, name, path)) return REAL(unlinkat)(folder, name, flags);
    take();
    give_back(path);
    int done = REAL(unlinkat)(folder, name, flags);
    if (done == 0) record(flags & AT_REMOVEDIR ? RMDIR : UNLINK, path, "", 0, 0, "", 0);
    give();
    return done;
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }

int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int remove(const char *name) {
    struct stat found;
    if (fstatat(AT_FDCWD, name, &found, AT_SYMLINK_NOFOLLOW)) return -1;
    return S_ISDIR(found.st_mode) ? rmdir(name) : unlink(name);
}

int mkdirat(int folder, const char *name, mode_t mode) {
    char path[PATH_MAX];
    if (!resolve(folder, name, path)) return REAL(mkdirat)(folder, name, mode);
    take();
    struct stat before;
    /* One that is there needs no room to be refused for that. */
    int existed = fstatat(folder, name, &before, 0) == 0;
    int done = existed || has_room(1) ? REAL(mkdirat)(folder, name, mode) : -1;
    if (done == 0) record(MKDIR, path, "", 0, 0, "", 0);
    give();
    return done;
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

/* --- what is told of the disk, and of the time --------------------------------------------------------------------- */

static int told(int done, struct statvfs64 *disk) {
    if (done == 0 && is_full()) disk->f_bavail = disk->f_bfree = control->budget_bytes / disk->f_frsize;
    return done;
}

int statvfs64(const char *name, struct statvfs64 *disk) {
    char path[PATH_MAX];
    int done = REAL(statvfs64)(name, disk);
    return resolve(AT_FDCWD, name, path) ? told(done, disk) : done;
}

int statvfs(const char *name, struct statvfs *disk) {
    _Static_assert(sizeof(struct statvfs) == sizeof(struct statvfs64), "a 64-bit machine");
    return statvfs64(name, (struct statvfs64 *)disk);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = REAL(clock_gettime)(clock, now);
    if (done == 0 && control && clock == CLOCK_REALTIME) now->tv_sec += control->clock_offset_s;
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int done = REAL(gettimeofday)(now, zone);
    if (done == 0 && control) now->tv_sec += control->clock_offset_s;
    return done;
}

time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}
