/* Goes through the records of a pack. */
#include "codec.h"

#include <string.h>

#include "limits.h"

#define PACK_VERSION 2
#define STOPPED "stopped by the receiver"

const char *fl_unpack(pack *p, const uint8_t *bytes, size_t size, record_sink sink, void *whose)
{
    tables_open();
    if (size == 0 || bytes[0] != PACK_VERSION)
        return "no pack";
    coder_open(&p->c, bytes + 1, size - 1);
    pack_begin(p);
    const unsigned n = p->c.refusal == NULL ? code_number_of_records(&p->c, 1) : 0;
    window *now = &p->windows[0], *before = &p->windows[1];
    window_of_nothing(before);
    for (unsigned i = 0; i < n && p->c.refusal == NULL; i++) {
        /* What a reader does not find in the stream it must not find in an older pack either. */
        window_of_nothing(now);
        code_record(p, now, before, i == 0);
        if (p->c.refusal == NULL)
            verify_limits(p, now);
        if (p->c.refusal != NULL)
            break;
        if (!sink(whose, p, now))
            refuse(&p->c, STOPPED);
        window *other = before;
        before = now;
        now = other;
    }
    if (p->c.refusal == NULL)
        coder_close(&p->c);
    return p->c.refusal;
}

typedef struct {
    const payload *payloads;
    unsigned n, at;
    output message;
} expected;

static bool is_expected(void *whose, const pack *p, const window *w)
{
    expected *left = whose;
    output *message = &left->message;
    message->size = 0;
    write_message(message, p, w);
    if (message->has_no_memory || left->at == left->n || left->payloads[left->at].size != message->size ||
        memcmp(left->payloads[left->at].bytes, message->bytes, message->size) != 0)
        return false;
    left->at++;
    return true;
}

static void write_records(pack *p, const payload *payloads, unsigned n)
{
    window *now = &p->windows[0], *before = &p->windows[1];
    window_of_nothing(before);
    code_number_of_records(&p->c, n);
    for (unsigned i = 0; i < n && p->c.refusal == NULL; i++) {
        window_of_nothing(now);
        read_message(p, now, payloads[i].bytes, payloads[i].size);
        if (now->key.previous >= now->key.sequence ||
            (i && (now->key.epoch != before->key.epoch || now->key.previous != before->key.sequence)))
            refuse(&p->c, "records that do not follow each other");
        if (p->c.refusal == NULL)
            verify_limits(p, now);
        if (p->c.refusal == NULL)
            code_record(p, now, before, i == 0);
        window *other = before;
        before = now;
        now = other;
    }
}

const char *fl_pack(pack *p, const payload *payloads, unsigned n, uint8_t **packed, size_t *size)
{
    tables_open();
    *packed = NULL;
    coder_begin(&p->c, WRITING);
    pack_begin(p);
    if (n < 1 || n > MOST_WINDOWS)
        return "from 1 to 16 windows can be packed";
    write_records(p, payloads, n);
    if (p->c.refusal != NULL)
        return p->c.refusal;
    uint8_t *bytes = coder_finish(&p->c, 1, size);
    if (bytes == NULL)
        return p->c.refusal;
    bytes[0] = PACK_VERSION;
    expected left = {payloads, n, 0, {NULL, 0, 0, false}};
    const char *refusal = fl_unpack(p, bytes, *size, is_expected, &left);
    free(left.message.bytes);
    if (refusal != NULL || left.at != n) {
        free(bytes);
        return "these windows do not survive being packed";
    }
    *packed = bytes;
    return NULL;
}
