/* Fuzzes the native engine: changes tables at random, keeps those that reach new code, and scores what is taken.
 *
 * usage: native_driver CORPUS SECONDS SEED [KEEP]
 *   CORPUS  folder of tables to start from
 *   KEEP    folder for new tables that reach new code
 *
 * The engine is built with gcc's -fsanitize=address,undefined and -fsanitize-coverage=trace-pc, this file without the
 * latter. Each changed table gets a right length and checksum, as they would keep all changes out of the loader. What
 * kills the process is written to `crash` in the working folder.
 */
#include <dirent.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

#define MOST_BYTES 4096u
#define MOST_KEPT 20000u
#define MAP_BITS 16
#define HANG_S 60
#define HEAD 20u

typedef struct {
    uint8_t *bytes;
    size_t size;
} input;

uint32_t fl_checksum(const uint8_t *bytes, size_t size);

static uint8_t map[1u << MAP_BITS], seen[1u << MAP_BITS];
static input kept[MOST_KEPT];
static size_t n_kept, n_seen;
static uint8_t current[MOST_BYTES];
static size_t current_size;
static uint64_t state;

/* Called by the engine's code at every edge. */
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

static uint32_t chance(uint32_t below)
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
    fprintf(stderr, "the table that did it: ./crash, %zu bytes\n", current_size);
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

static void run(void)
{
    fl_refusal refusal;
    memset(map, 0, sizeof map);
    /* A copy of exactly this size: one byte more would not be noticed in a larger buffer. */
    uint8_t *table = malloc(current_size ? current_size : 1);
    memcpy(table, current, current_size);
    fl_model *model = fl_open(table, current_size, current_size ? current[current_size / 2] & 1u : 0, &refusal);
    free(table);
    if (model == NULL)
        return;
    const size_t n_features = fl_n_features(model), n_outputs = fl_n_outputs(model);
    float *rows = malloc(3 * n_features * sizeof *rows), *answers = malloc(3 * n_outputs * sizeof *answers);
    static const float odd[] = {0.0F, -0.0F, 1.0F, -1.5F, 1e30F, -1e30F, 1e-40F, 0.0F, 0.0F, 0.0F};
    for (size_t i = 0; i < 3 * n_features; i++) {
        const uint32_t which = chance(sizeof odd / sizeof *odd);
        rows[i] = i < n_features ? 0.5F : which == 7 ? __builtin_nanf("") : which == 8 ? __builtin_inff() : odd[which];
    }
    fl_score(model, 3, rows, answers);
    for (uint32_t i = 0; i < fl_n_operations(model); i++)
        fl_layout(model, i);
    free(rows);
    free(answers);
    fl_close(model);
}

static void put_u32(size_t at, uint32_t value)
{
    if (at + sizeof value <= current_size)
        memcpy(current + at, &value, sizeof value);
}

static void seal(void)
{
    if (current_size < HEAD)
        return;
    put_u32(12, (uint32_t)current_size);
    put_u32(16, fl_checksum(current + HEAD, current_size - HEAD));
}

static void change(void)
{
    static const uint32_t edges[] = {0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 63, 64, 65, 255, 256, 257, 4096, 65535, 65536, 65537,
                                     0x7fffffff, 0x80000000, 0xffffffff, 0x7f800000, 0x7fc00000, 0xff800000};
    const size_t at = current_size ? chance((uint32_t)current_size) : 0;
    const uint32_t n = 1 + chance(16);
    switch (chance(9)) {
    case 0:
        current[at] ^= (uint8_t)(1u << chance(8));
        break;
    case 1:
        current[at] = (uint8_t)chance(256);
        break;
    case 2: /* numbers of the head and of records stand at multiples of four */
        put_u32(at & ~(size_t)3, edges[chance(sizeof edges / sizeof *edges)]);
        break;
    case 3:
        put_u32(at, edges[chance(sizeof edges / sizeof *edges)]);
        break;
    case 4:
        current[at] = (uint8_t)(current[at] + (chance(2) ? 1 : -1));
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
                current[at + i] = (uint8_t)chance(256);
            current_size += n;
        }
        break;
    case 7: { /* the end of another one */
        const input *other = &kept[chance((uint32_t)n_kept)];
        const size_t from = other->size ? chance((uint32_t)other->size) : 0;
        const size_t size = other->size - from < MOST_BYTES - at ? other->size - from : MOST_BYTES - at;
        memcpy(current + at, other->bytes + from, size);
        current_size = at + size;
        break;
    }
    default: { /* a piece of another one in the same place */
        const input *other = &kept[chance((uint32_t)n_kept)];
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
    kept[n_kept++] = (input){bytes, current_size};
    if (folder != NULL) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%08x", folder, fl_checksum(current, current_size));
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
        fprintf(stderr, "%s holds no tables\n", argv[1]);
        return 2;
    }
    const size_t n_given = n_kept, seen_before = n_seen;
    const time_t end = time(NULL) + atoi(argv[2]);
    uint64_t n_runs = 0;
    while (n_runs % 64 != 0 || time(NULL) < end) {
        const input *from = &kept[chance((uint32_t)n_kept)];
        memcpy(current, from->bytes, from->size);
        current_size = from->size;
        for (uint32_t i = 1 + chance(4); i > 0; i--)
            change();
        if (chance(16) != 0)
            seal();
        if (n_runs++ % 64 == 0)
            alarm(HANG_S);
        run();
        if (is_new())
            keep(argc > 4 ? argv[4] : NULL);
    }
    printf("runs %llu, tables given %zu, kept %zu, edges before %zu, after %zu\n", (unsigned long long)n_runs, n_given, n_kept,
           seen_before, n_seen);
    return 0;
}
