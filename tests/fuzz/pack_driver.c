/* Fuzzes the codec of packs: what it unpacks is packed again, and what it is given as messages is packed if it can be.
 *
 * An input's first byte chooses: a pack, or messages of version 1, each after two bytes of its length.
 */
#include "harness.h"

#include "codec.h"

static pack *whole;

/* Copies of exactly their size: one byte more would not be noticed in a larger buffer. */
typedef struct {
    payload payloads[MOST_WINDOWS];
    unsigned n;
} messages;

static void take(messages *taken, const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    if (taken->n == MOST_WINDOWS)
        abort();
    taken->payloads[taken->n++] = (payload){copy, size};
}

static bool collect(void *whose, const pack *p, const window *w)
{
    output message = {NULL, 0, 0, false};
    write_message(&message, p, w);
    if (w->key.sequence < 1 || message.size == 0 || message.size > 256 << 10)
        abort();
    take(whose, message.bytes, message.size);
    free(message.bytes);
    return true;
}

static void let_go(messages *taken)
{
    for (unsigned i = 0; i < taken->n; i++)
        free((void *)taken->payloads[i].bytes);
}

static void pack_again(messages *taken)
{
    uint8_t *packed = NULL;
    size_t size = 0;
    if (fl_pack(whole, taken->payloads, taken->n, &packed, &size) == NULL && (packed == NULL || size < 6))
        abort();
    free(packed);
}

static void run(void)
{
    if (whole == NULL)
        whole = calloc(1, sizeof *whole);
    memset(map, 0, sizeof map);
    messages taken = {.n = 0};
    if (current_size && current[0] != 0) {
        messages pack = {.n = 0};
        take(&pack, current, current_size);
        fl_unpack(whole, pack.payloads[0].bytes, pack.payloads[0].size, collect, &taken);
        let_go(&pack);
    } else {
        for (size_t at = 1; at + 2 <= current_size && taken.n < MOST_WINDOWS;) {
            const size_t size = (size_t)current[at] << 8 | current[at + 1], rest = current_size - at - 2;
            take(&taken, current + at + 2, size < rest ? size : rest);
            at += 2 + size;
        }
    }
    pack_again(&taken);
    let_go(&taken);
}

static void seal(void)
{
    if (current_size && current[0] != 0)
        current[0] = 2;
}
