/* Fuzzes C, guided by coverage: changes inputs at random and keeps those that reach new code.
 *
 * A driver includes this file once and defines `run`, which hands `current` to what is fuzzed, and `seal`, which mends
 * what would keep all changes out (a checksum, say). Its program:
 *
 * usage: driver CORPUS SECONDS SEED [KEEP]
 *   CORPUS  folder of inputs to start from
 *   KEEP    folder for new inputs that reach new code
 *
 * The fuzzed code is built with gcc's -fsanitize=address,undefined and -fsanitize-coverage=trace-pc, the driver without
 * the latter. What kills the process is written to `crash` in the working folder.
 */
#include <dirent.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST_BYTES 4096u
#define MOST_KEPT 20000u
#define MAP_BITS 16
#define HANG_S 60

typedef struct {
    uint8_t *bytes;
    size_t size;
} fuzz_input;

static uint8_t map[1u << MAP_BITS], seen[1u << MAP_BITS];
static fuzz_input kept[MOST_KEPT];
static size_t n_kept, n_seen;
static uint8_t current[MOST_BYTES];
static size_t current_size;
static uint64_t state;

/* Called by the fuzzed code at every edge. */
void __sanitizer_cov_trace_pc(void)
{
    static __thread uintptr_t before;
    const uintptr_t at = (uintptr_t)__builtin_return_address(0);
    const uintptr_t edge = (at ^ before >> 1) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - MAP_BITS);
    uint8_t *count = &map[edge & ((1u << MAP_BITS) - 1)];
    if (*count < 255)
        ++*count;
    before = at;
}

static uint32_t draw(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 16) % below);
}

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    if (file != NULL) {
        fwrite(bytes, 1, size, file);
        fclose(file);
    }
}

static void keep_crash(void)
{
    write_file("crash", current, current_size);
    fprintf(stderr, "what did it: ./crash, %zu bytes\n", current_size);
}

static void hang(int number)
{
    (void)number;
    fprintf(stderr, "no answer within %d s\n", HANG_S);
    keep_crash();
    _exit(2);
}

/* Few or many: a loop that runs 9 times is new beside one that runs twice. */
static uint8_t bucket(uint8_t count)
{
    return count == 0 ? 0 : count == 1 ? 1 : count == 2 ? 2 : count < 8 ? 4 : count < 32 ? 8 : count < 128 ? 16 : 32;
}

static int is_new(void)
{
    int found = 0;
    for (size_t i = 0; i < sizeof map; i++) {
        const uint8_t reached = bucket(map[i]);
        if (reached & ~seen[i]) {
            n_seen += seen[i] == 0;
            seen[i] |= reached;
            found = 1;
        }
    }
    return found;
}

/* Of the driver. */
static void run(void);
static void seal(void);

static void put_u32(size_t at, uint32_t value)
{
    if (at + sizeof value <= current_size)
        memcpy(current + at, &value, sizeof value);
}

static void change(void)
{
    static const uint32_t edges[] = {0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 63, 64, 65, 255, 256, 257, 4096, 65535, 65536, 65537,
                                     0x7fffffff, 0x80000000, 0xffffffff, 0x7f800000, 0x7fc00000, 0xff800000};
    const size_t at = current_size ? draw((uint32_t)current_size) : 0;
    const uint32_t n = 1 + draw(16);
    switch (draw(9)) {
    case 0:
        current[at] ^= (uint8_t)(1u << draw(8));
        break;
    case 1:
        current[at] = (uint8_t)draw(256);
        break;
    case 2: /* numbers of the head and of records stand at multiples of four */
        put_u32(at & ~(size_t)3, edges[draw(sizeof edges / sizeof *edges)]);
        break;
    case 3:
        put_u32(at, edges[draw(sizeof edges / sizeof *edges)]);
        break;
    case 4:
        current[at] = (uint8_t)(current[at] + (draw(2) ? 1 : -1));
        break;
    case 5: /* cut out */
        if (at + n < current_size) {
            memmove(current + at, current + at + n, current_size - at - n);
            current_size -= n;
        }
        break;
    case 6: /* put in */
        if (current_size + n < MOST_BYTES) {
            memmove(current + at + n, current + at, current_size - at);
            for (uint32_t i = 0; i < n; i++)
                current[at + i] = (uint8_t)draw(256);
            current_size += n;
        }
        break;
    case 7: { /* the end of another one */
        const fuzz_input *other = &kept[draw((uint32_t)n_kept)];
        const size_t from = other->size ? draw((uint32_t)other->size) : 0;
        const size_t size = other->size - from < MOST_BYTES - at ? other->size - from : MOST_BYTES - at;
        memcpy(current + at, other->bytes + from, size);
        current_size = at + size;
        break;
    }
    default: { /* a piece of another one in the same place */
        const fuzz_input *other = &kept[draw((uint32_t)n_kept)];
        if (at + n <= other->size && at + n <= current_size)
            memcpy(current + at, other->bytes + at, n);
    }
    }
}

static void keep(const char *folder)
{
    if (n_kept == MOST_KEPT)
        return;
    uint8_t *bytes = malloc(current_size ? current_size : 1);
    memcpy(bytes, current, current_size);
    kept[n_kept++] = (fuzz_input){bytes, current_size};
    if (folder != NULL) {
        char path[4096];
        uint64_t name = UINT64_C(0xcbf29ce484222325);
        for (size_t i = 0; i < current_size; i++)
            name = (name ^ current[i]) * UINT64_C(0x100000001b3);
        snprintf(path, sizeof path, "%s/%016llx", folder, (unsigned long long)name);
        write_file(path, current, current_size);
    }
}

static void read_corpus(const char *folder)
{
    struct dirent **entries;
    const int n = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        FILE *file = entries[i]->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (file != NULL) {
            current_size = fread(current, 1, MOST_BYTES, file);
            fclose(file);
            alarm(HANG_S);
            run();
            is_new();
            keep(NULL);
        }
        free(entries[i]);
    }
    if (n > 0)
        free(entries);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: %s CORPUS SECONDS SEED [KEEP]\n", argv[0]);
        return 2;
    }
    __sanitizer_set_death_callback(keep_crash);
    signal(SIGALRM, hang);
    state = strtoull(argv[3], NULL, 10) * 2 + 1;
    read_corpus(argv[1]);
    if (n_kept == 0) {
        fprintf(stderr, "%s holds nothing\n", argv[1]);
        return 2;
    }
    const size_t n_given = n_kept, seen_before = n_seen;
    const time_t end = time(NULL) + atoi(argv[2]);
    uint64_t n_runs = 0;
    while (n_runs % 64 != 0 || time(NULL) < end) {
        const fuzz_input *from = &kept[draw((uint32_t)n_kept)];
        memcpy(current, from->bytes, from->size);
        current_size = from->size;
        for (uint32_t i = 1 + draw(4); i > 0; i--)
            change();
        if (draw(16) != 0)
            seal();
        if (n_runs++ % 64 == 0)
            alarm(HANG_S);
        run();
        if (is_new())
            keep(argc > 4 ? argv[4] : NULL);
    }
    printf("runs %llu, inputs given %zu, kept %zu, edges before %zu, after %zu\n", (unsigned long long)n_runs, n_given, n_kept,
           seen_before, n_seen);
    return 0;
}
