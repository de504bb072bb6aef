/* Unpacks a pack and packs it again, for tests on emulated boards: codec_runner PACK; payloads go to standard output. */
#include <stdio.h>
#include <string.h>

#include "codec.h"

typedef struct {
    payload payloads[MOST_WINDOWS];
    unsigned n;
} messages;

static bool keep(void *whose, const pack *p, const window *w)
{
    messages *taken = whose;
    output message = {NULL, 0, 0, false};
    write_message(&message, p, w);
    if (message.has_no_memory)
        return false;
    /* The end of the program lets go of them. */
    taken->payloads[taken->n++] = (payload){message.bytes, message.size};
    return fwrite(message.bytes, 1, message.size, stdout) == message.size;
}

int main(int argc, char **argv)
{
    static uint8_t given[1 << 18];
    static pack whole;
    messages taken = {.n = 0};
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL)
        return 2;
    const size_t n = fread(given, 1, sizeof given, file);
    fclose(file);
    const char *refusal = fl_unpack(&whole, given, n, keep, &taken);
    if (refusal != NULL) {
        fprintf(stderr, "%s\n", refusal);
        return whole.c.is_beyond ? 4 : 3;
    }
    uint8_t *packed = NULL;
    size_t size = 0;
    refusal = fl_pack(&whole, taken.payloads, taken.n, &packed, &size);
    if (refusal != NULL || size != n || memcmp(packed, given, n) != 0) {
        fprintf(stderr, "packed again it is another: %s\n", refusal ? refusal : "other bytes");
        return 1;
    }
    return 0;
}
