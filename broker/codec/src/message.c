/* The few forms of MessagePack that telemetry has, written as shortly as MessagePack can, which msgspec does too. */
#include "message.h"

#include <string.h>

#define VERSION 1
#define N_FIELDS 14
#define N_RESOURCES 5
#define NO_MESSAGE "a message that is no window of version 1"

static uint8_t *room_for(output *out, size_t n)
{
    if (n > out->capacity - out->size) {
        const size_t capacity = 2 * out->capacity + n + 4096;
        uint8_t *bytes = out->has_no_memory ? NULL : realloc(out->bytes, capacity);
        if (bytes == NULL) {
            out->has_no_memory = true;
            return NULL;
        }
        out->bytes = bytes;
        out->capacity = capacity;
    }
    out->size += n;
    return out->bytes + out->size - n;
}

static void put_big_endian(output *out, uint8_t code, uint64_t value, unsigned n_bytes)
{
    uint8_t *at = room_for(out, 1 + n_bytes);
    if (at == NULL)
        return;
    *at = code;
    for (unsigned i = 0; i < n_bytes; i++)
        at[1 + i] = (uint8_t)(value >> 8 * (n_bytes - 1 - i));
}

static void put_unsigned(output *out, uint64_t value)
{
    if (value < 0x80)
        put_big_endian(out, (uint8_t)value, 0, 0);
    else if (value <= UINT8_MAX)
        put_big_endian(out, 0xcc, value, 1);
    else if (value <= UINT16_MAX)
        put_big_endian(out, 0xcd, value, 2);
    else if (value <= UINT32_MAX)
        put_big_endian(out, 0xce, value, 4);
    else
        put_big_endian(out, 0xcf, value, 8);
}

static void put_signed(output *out, int64_t value)
{
    if (value >= 0)
        put_unsigned(out, (uint64_t)value);
    else if (value >= -32)
        put_big_endian(out, (uint8_t)value, 0, 0);
    else if (value >= INT8_MIN)
        put_big_endian(out, 0xd0, (uint64_t)value, 1);
    else if (value >= INT16_MIN)
        put_big_endian(out, 0xd1, (uint64_t)value, 2);
    else
        put_big_endian(out, 0xd2, (uint64_t)value, 4);
}

static void put_double(output *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_big_endian(out, 0xcb, bits, 8);
}

static void put_array(output *out, uint32_t n)
{
    if (n < 16)
        put_big_endian(out, (uint8_t)(0x90 | n), 0, 0);
    else
        put_big_endian(out, 0xdc, n, 2);
}

static void put_text(output *out, const text *value)
{
    if (value->size < 32)
        put_big_endian(out, (uint8_t)(0xa0 | value->size), 0, 0);
    else if (value->size <= UINT8_MAX)
        put_big_endian(out, 0xd9, value->size, 1);
    else
        put_big_endian(out, 0xda, value->size, 2);
    uint8_t *at = room_for(out, value->size);
    if (at != NULL)
        memcpy(at, value->bytes, value->size);
}

/* Most counts are below 128, which is one byte each: these are written together. */
static void put_counts(output *out, const pack *p, slice counts)
{
    put_array(out, counts.n);
    const uint32_t *count = &p->counts[counts.at];
    uint32_t n_small = 0;
    while (n_small < counts.n && count[n_small] < 0x80)
        n_small++;
    uint8_t *at = room_for(out, n_small);
    for (uint32_t i = 0; at != NULL && i < n_small; i++)
        at[i] = (uint8_t)count[i];
    for (uint32_t i = n_small; i < counts.n; i++)
        put_unsigned(out, count[i]);
}

static void put_names(output *out, const named_counts *named)
{
    put_array(out, named->n);
    for (uint32_t i = 0; i < named->n; i++) {
        put_array(out, 2);
        put_text(out, &named->names[i]);
        put_unsigned(out, (uint64_t)named->counts[i]);
    }
}

static void put_resources(output *out, const resources *told)
{
    if (!told->is_told) {
        put_big_endian(out, 0xc0, 0, 0);
        return;
    }
    put_array(out, N_RESOURCES);
    put_unsigned(out, (uint64_t)told->rss_bytes);
    put_double(out, told->cpu_s);
    put_unsigned(out, (uint64_t)told->free_disk_bytes);
    if (told->has_temperature)
        put_double(out, told->temperature_c);
    else
        put_big_endian(out, 0xc0, 0, 0);
    put_big_endian(out, told->throttled < 0 ? 0xc0 : told->throttled ? 0xc3 : 0xc2, 0, 0);
}

void write_message(output *out, const pack *p, const window *w)
{
    put_big_endian(out, VERSION, 0, 0);
    put_array(out, 2);
    put_array(out, 3);
    put_unsigned(out, w->key.epoch);
    put_unsigned(out, (uint64_t)w->key.sequence);
    put_unsigned(out, (uint64_t)w->key.previous);
    put_array(out, N_FIELDS);
    put_array(out, 2);
    put_text(out, &w->bundle);
    put_unsigned(out, w->version);
    put_text(out, &w->variant);
    put_double(out, w->started_s);
    put_double(out, w->ended_s);
    put_unsigned(out, (uint64_t)w->first_row);
    put_unsigned(out, (uint64_t)w->last_row);
    put_unsigned(out, (uint64_t)w->rows_scored);
    put_names(out, &w->refused);
    put_array(out, w->n_features);
    for (uint32_t i = 0; i < w->n_features; i++) {
        put_array(out, 3);
        put_counts(out, p, p->features[i].counts);
        put_unsigned(out, (uint64_t)p->features[i].missing);
        put_unsigned(out, (uint64_t)p->features[i].outside);
    }
    put_counts(out, p, w->predictions);
    put_counts(out, p, w->agreement);
    put_array(out, w->n_pairs);
    for (uint32_t i = 0; i < w->n_pairs; i++) {
        put_array(out, 2);
        put_signed(out, w->buckets[i]);
        put_unsigned(out, w->rows[i]);
    }
    put_names(out, &w->errors);
    put_resources(out, &w->resources);
}

typedef struct {
    coder *c;
    const uint8_t *at, *end;
} input;

static uint64_t get_big_endian(input *in, unsigned n_bytes)
{
    uint64_t value = 0;
    if ((size_t)(in->end - in->at) < n_bytes) {
        refuse(in->c, NO_MESSAGE);
        in->at = in->end;
        return 0;
    }
    for (unsigned i = 0; i < n_bytes; i++)
        value = value << 8 | *in->at++;
    return value;
}

static int64_t get_integer(input *in)
{
    const uint8_t code = (uint8_t)get_big_endian(in, 1);
    if (code < 0x80 || code >= 0xe0)
        return (int8_t)code;
    if (code >= 0xcc && code <= 0xcf) {
        const uint64_t value = get_big_endian(in, 1u << (code - 0xcc));
        if (value <= (uint64_t)GREATEST_NUMBER)
            return (int64_t)value;
    } else if (code == 0xd0) {
        return (int8_t)get_big_endian(in, 1);
    } else if (code == 0xd1) {
        return (int16_t)get_big_endian(in, 2);
    }
    refuse(in->c, NO_MESSAGE);
    return 0;
}

static int64_t get_count(input *in, int64_t most)
{
    const int64_t value = get_integer(in);
    if (value < 0 || value > most) {
        refuse(in->c, NO_MESSAGE);
        return 0;
    }
    return value;
}

static double get_double(input *in)
{
    if (get_big_endian(in, 1) != 0xcb)
        refuse(in->c, NO_MESSAGE);
    const uint64_t bits = get_big_endian(in, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t get_array(input *in, uint32_t most)
{
    const uint8_t code = (uint8_t)get_big_endian(in, 1);
    uint32_t n = code & 0x0fu;
    if (code == 0xdc)
        n = (uint32_t)get_big_endian(in, 2);
    else if (code >> 4 != 9)
        refuse(in->c, NO_MESSAGE);
    if (n > most)
        refuse(in->c, NO_MESSAGE);
    return in->c->refusal == NULL ? n : 0;
}

static void expect_array(input *in, uint32_t n)
{
    if (get_array(in, n) != n)
        refuse(in->c, NO_MESSAGE);
}

static void get_text(input *in, text *value)
{
    const uint8_t code = (uint8_t)get_big_endian(in, 1);
    uint64_t size = code & 0x1fu;
    if (code == 0xd9 || code == 0xda)
        size = get_big_endian(in, code == 0xd9 ? 1 : 2);
    else if (code >> 5 != 5)
        refuse(in->c, NO_MESSAGE);
    if (size > MOST_TEXT || size > (size_t)(in->end - in->at))
        refuse(in->c, NO_MESSAGE);
    value->size = in->c->refusal == NULL ? (uint32_t)size : 0;
    memcpy(value->bytes, in->at, value->size);
    in->at += value->size;
}

static slice get_counts(input *in, pack *p)
{
    const uint32_t n = get_array(in, MOST_BINS);
    slice counts = {take_counts(p, n), n};
    for (uint32_t i = 0; i < n && p->c.refusal == NULL; i++) {
        /* Most counts are one byte. */
        const int64_t count = in->at < in->end && *in->at < 0x80 ? *in->at++ : get_count(in, GREATEST_NUMBER);
        if (count > UINT32_MAX)
            refuse_beyond(&p->c);
        p->counts[counts.at + i] = (uint32_t)count;
    }
    return p->c.refusal == NULL ? counts : (slice){0, 0};
}

static void get_names(input *in, named_counts *named)
{
    named->n = get_array(in, MOST_NAMES);
    for (uint32_t i = 0; i < named->n && in->c->refusal == NULL; i++) {
        expect_array(in, 2);
        get_text(in, &named->names[i]);
        named->counts[i] = get_count(in, GREATEST_NUMBER);
    }
}

static void get_latency(input *in, window *w)
{
    w->n_pairs = get_array(in, MOST_PAIRS);
    for (uint32_t i = 0; i < w->n_pairs && in->c->refusal == NULL; i++) {
        expect_array(in, 2);
        const int64_t bucket = get_integer(in), rows = get_count(in, GREATEST_NUMBER);
        if (rows > UINT32_MAX)
            refuse_beyond(in->c);
        if (bucket < -MOST_BUCKET || bucket > MOST_BUCKET || rows == 0 || (i > 0 && bucket <= w->buckets[i - 1]))
            refuse(in->c, "latency is not in ascending order, or counts nothing");
        w->buckets[i] = in->c->refusal == NULL ? (int32_t)bucket : 0;
        w->rows[i] = (uint32_t)rows;
    }
}

static bool is_nil(input *in)
{
    const bool is = in->at < in->end && *in->at == 0xc0;
    in->at += is;
    return is;
}

static void get_resources(input *in, resources *told)
{
    *told = (resources){.throttled = -1};
    if (is_nil(in))
        return;
    told->is_told = true;
    expect_array(in, N_RESOURCES);
    told->rss_bytes = get_count(in, GREATEST_NUMBER);
    told->cpu_s = get_double(in);
    told->free_disk_bytes = get_count(in, GREATEST_NUMBER);
    told->has_temperature = !is_nil(in);
    if (told->has_temperature)
        told->temperature_c = get_double(in);
    if (!is_nil(in))
        told->throttled = get_big_endian(in, 1) == 0xc3;
}

void read_message(pack *p, window *w, const uint8_t *bytes, size_t size)
{
    input reader = {&p->c, bytes, bytes + size}, *in = &reader;
    if (get_big_endian(in, 1) != VERSION)
        refuse(in->c, NO_MESSAGE);
    expect_array(in, 2);
    expect_array(in, 3);
    w->key.epoch = (uint32_t)get_count(in, UINT32_MAX);
    w->key.sequence = get_count(in, GREATEST_NUMBER);
    w->key.previous = get_count(in, GREATEST_NUMBER);
    expect_array(in, N_FIELDS);
    expect_array(in, 2);
    get_text(in, &w->bundle);
    w->version = (uint64_t)get_count(in, GREATEST_NUMBER);
    get_text(in, &w->variant);
    w->started_s = get_double(in);
    w->ended_s = get_double(in);
    w->first_row = get_count(in, GREATEST_NUMBER);
    w->last_row = get_count(in, GREATEST_NUMBER);
    w->rows_scored = get_count(in, GREATEST_NUMBER);
    get_names(in, &w->refused);
    w->n_features = get_array(in, MOST_FEATURES);
    for (uint32_t i = 0; i < w->n_features && p->c.refusal == NULL; i++) {
        expect_array(in, 3);
        p->features[i].counts = get_counts(in, p);
        p->features[i].missing = get_count(in, GREATEST_NUMBER);
        p->features[i].outside = get_count(in, GREATEST_NUMBER);
    }
    w->predictions = get_counts(in, p);
    w->agreement = get_counts(in, p);
    get_latency(in, w);
    get_names(in, &w->errors);
    get_resources(in, &w->resources);
    if (in->at != in->end)
        refuse(in->c, NO_MESSAGE);
}
