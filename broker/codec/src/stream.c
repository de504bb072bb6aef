/* rANS with 32 bits of state, 16 bits at a time, as `broker/entropy.py` describes it. */
#include "stream.h"

#include <string.h>

#include "even.h"

#define MOST_INTEGER_BITS 54
#define LEARNT_LENGTHS 12
#define LENGTH_BITS 6
#define BEYOND ((int64_t)1 << 33)
#define NO_MEMORY "no memory"

stretch fl_stretches[N_TABLES][N_COARSE];
uint8_t fl_table_of[GREATEST_VARIANCE + 1];
double fl_symbol_bits[(1u << TABLE_BITS) + 1];
/* Bits that a flag costs, by its chance; nought: not asked for yet. */
static double flag_bits[FLAG_ONE];
static chance first_chances[N_CHANCES];

void tables_open(void)
{
    if (first_chances[0].n != 0)
        return;
    for (unsigned variance = 0, i = 0; variance <= GREATEST_VARIANCE; variance++) {
        while (fl_variances[i] < variance)
            i++;
        fl_table_of[variance] = (uint8_t)i;
    }
    even_open();
    for (unsigned i = 0; i < N_CHANCES; i++)
        first_chances[i] = (chance){FLAG_ONE / 2, 1};
}

void open_stretches(unsigned which)
{
    const uint16_t *starts = fl_tables[which].starts;
    for (unsigned i = N_COARSE, symbol = 2 * fl_tables[which].radius + 1u; i-- > 0;) {
        while (starts[symbol] > i << COARSE_BITS)
            symbol--;
        fl_stretches[which][i] = (stretch){(uint16_t)symbol, starts[symbol + 1]};
    }
}

void coder_begin(coder *c, enum coder_mode mode)
{
    c->mode = mode;
    c->refusal = NULL;
    c->is_beyond = false;
    c->n_steps = 0;
    memcpy(c->chances, first_chances, sizeof c->chances);
}

void coder_open(coder *c, const uint8_t *bytes, size_t size)
{
    coder_begin(c, READING);
    c->state = 0;
    c->at = c->end = bytes;
    if (size < 4 || size % 2 != 0) {
        refuse(c, "a stream of so many bytes is none");
        return;
    }
    c->state = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    c->at = bytes + 4;
    c->end = bytes + size;
}

void coder_close(coder *c)
{
    if (c->at != c->end || c->state != LOWEST)
        refuse(c, "the stream does not end where its content ends");
}

bool has_room_for_steps(coder *c, size_t n)
{
    if (c->step_capacity - c->n_steps >= n)
        return true;
    const size_t capacity = 2 * c->step_capacity + (n > 2048 ? n : 2048);
    step *steps = realloc(c->steps, capacity * sizeof *steps);
    if (steps == NULL) {
        refuse(c, NO_MEMORY);
        return false;
    }
    c->steps = steps;
    c->step_capacity = capacity;
    return true;
}

void put_step(coder *c, uint32_t start, uint32_t frequency, unsigned bits)
{
    if (has_room_for_steps(c, 1))
        c->steps[c->n_steps++] = (step){(uint16_t)start, (uint16_t)frequency, (uint16_t)bits};
}

uint8_t *coder_finish(coder *c, size_t head, size_t *size)
{
    /* The last step is coded first, so that the first is read first; so the bytes are written from their end. A step
     * gives two at most. */
    const size_t most = head + 4 + 2 * c->n_steps;
    uint8_t *bytes = malloc(most);
    if (bytes == NULL) {
        refuse(c, NO_MEMORY);
        return NULL;
    }
    uint8_t *at = bytes + most;
    uint32_t state = LOWEST;
    for (size_t i = c->n_steps; i-- > 0;) {
        const step each = c->steps[i];
        if (state >= (uint64_t)each.frequency << (32 - each.bits)) {
            *--at = (uint8_t)state;
            *--at = (uint8_t)(state >> 8);
            state >>= 16;
        }
        state = ((state / each.frequency) << each.bits) + state % each.frequency + each.start;
    }
    for (unsigned i = 0; i < 4; i++)
        *--at = (uint8_t)(state >> 8 * i);
    *size = (size_t)(bytes + most - at) + head;
    memmove(bytes + head, at, *size - head);
    return bytes;
}

uint64_t code_bits(coder *c, uint64_t value, unsigned n_bits)
{
    if (c->mode == MEASURING) {
        c->spent += n_bits;
        return value;
    }
    uint64_t coded = 0;
    for (unsigned at = 0; at < n_bits; at += 16) {
        const unsigned width = n_bits - at < 16 ? n_bits - at : 16;
        const uint32_t mask = (1u << width) - 1;
        uint32_t part = (uint32_t)(value >> at) & mask;
        if (c->mode == READING) {
            part = c->state & mask;
            take_step(c, part, 1, width);
        } else {
            put_step(c, part, 1, width);
        }
        coded |= (uint64_t)part << at;
    }
    return coded;
}

uint64_t code_integer(coder *c, unsigned name, uint64_t value)
{
    const unsigned first_flag = name * FLAGS_OF_INTEGER;
    const unsigned wanted = value ? 64 - (unsigned)__builtin_clzll(value) : 0;
    unsigned length = 0;
    while (length <= LEARNT_LENGTHS && code_flag(c, first_flag + length, wanted > length))
        length++;
    if (length > LEARNT_LENGTHS) {
        length += (unsigned)code_bits(c, wanted - length, LENGTH_BITS);
        if (length > MOST_INTEGER_BITS) {
            refuse(c, "a number of more bits than are allowed");
            return 0;
        }
    }
    if (length <= 1)
        return length;
    const uint64_t top = UINT64_C(1) << (length - 1);
    return top | code_bits(c, value & (top - 1), length - 1);
}

int64_t code_signed(coder *c, unsigned name, int64_t value)
{
    const int64_t size = (int64_t)code_integer(c, name, value < 0 ? (uint64_t)-value : (uint64_t)value);
    return size && code_flag(c, name * FLAGS_OF_INTEGER + FLAGS_OF_INTEGER - 1, value < 0) ? -size : size;
}

double learn_bits_of_symbol(uint32_t frequency)
{
    fl_symbol_bits[frequency] = TABLE_BITS - log2((double)frequency);
    return fl_symbol_bits[frequency];
}

double bits_of_flag(uint32_t chance_4096)
{
    if (flag_bits[chance_4096] == 0)
        flag_bits[chance_4096] = -log2((double)chance_4096 / FLAG_ONE);
    return flag_bits[chance_4096];
}

static unsigned code_symbol(coder *c, unsigned which, unsigned value)
{
    const uint16_t *starts = fl_tables[which].starts;
    if (c->mode == READING) {
        const uint32_t place = c->state & ((1u << TABLE_BITS) - 1);
        value = symbol_at(stretches_of(which), starts, place);
        take_step(c, starts[value], (uint32_t)starts[value + 1] - starts[value], TABLE_BITS);
        return value;
    }
    const uint32_t frequency = (uint32_t)starts[value + 1] - starts[value];
    if (c->mode == WRITING) {
        put_step(c, starts[value], frequency, TABLE_BITS);
        return value;
    }
    c->spent += bits_of_symbol(frequency);
    return value;
}

int64_t code_near(coder *c, uint64_t mean, uint64_t variance_16, int64_t number)
{
    unsigned shift = 0;
    while (variance_16 > GREATEST_VARIANCE) {
        variance_16 >>= 2;
        shift++;
    }
    const unsigned which = fl_table_of[variance_16];
    const int64_t radius = fl_tables[which].radius, distance = number - (int64_t)mean;
    const unsigned outside = 2 * (unsigned)radius + 1;
    int64_t high = distance >> shift; /* rounds down: every compiler that is used here shifts so */
    const unsigned symbol = code_symbol(c, which, -radius <= high && high <= radius ? (unsigned)(high + radius) : outside);
    if (symbol == outside) {
        const bool is_below = code_flag(c, FAR_BELOW, high < 0);
        const int64_t past = (high < 0 ? -high : high) - radius - 1;
        high = (int64_t)code_integer(c, FAR_AWAY, past > 0 ? (uint64_t)past : 0) + radius + 1;
        if (high > BEYOND) {
            refuse(c, "counts that do not add up to their total");
            high = 0;
        }
        high = is_below ? -high : high;
    } else {
        high = (int64_t)symbol - radius;
    }
    const uint64_t low = shift ? code_bits(c, (uint64_t)distance & ((UINT64_C(1) << shift) - 1), shift) : 0;
    return (int64_t)mean + high * ((int64_t)1 << shift) + (int64_t)low;
}
