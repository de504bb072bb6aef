/* Writes, reads or measures one value at a time: `broker/entropy.py` in C, the same to the bit. */
#ifndef FIELDLOOP_STREAM_H
#define FIELDLOOP_STREAM_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define TABLE_BITS 15
#define N_TABLES 38
#define GREATEST_VARIANCE (16u << 10)
#define FLAG_BITS 12
#define FLAG_ONE (1u << FLAG_BITS)
#define LOWEST (1u << 16)
#define COARSE_BITS 6
#define N_COARSE (1u << (TABLE_BITS - COARSE_BITS))

/* A number that is coded by its length has a flag for each usual length, and one for its sign. */
#define FLAGS_OF_INTEGER 14
#define N_USUAL 34
enum histogram_name { OF_FEATURE, OF_PREDICTIONS, OF_AGREEMENT, OF_LATENCY, N_HISTOGRAM_NAMES };
enum integer_name {
    RECORDS, SEQUENCE, JUMP, FIRST_ROW, ROWS_MORE, REFUSED_NAMES, REFUSED_BYTES, REFUSED, SCORED, FEATURES, MISSING,
    OUT_OF_RANGE, ERRORS_NAMES, ERRORS_BYTES, ERRORS, BUNDLE_BYTES, BUNDLE_VERSION, VARIANT_BYTES, START, CPU, WARMTH,
    DURATION, RSS, DISK, FAR_AWAY, LATENCY_FROM, LATENCY_OVER, TOTAL,
    BINS = TOTAL + N_HISTOGRAM_NAMES,
    COUNT_OF = BINS + N_HISTOGRAM_NAMES,
    N_INTEGERS = COUNT_OF + N_HISTOGRAM_NAMES * N_USUAL
};
enum flag_name {
    SAME_BUNDLE = N_INTEGERS * FLAGS_OF_INTEGER, NAMED_VARIANT, STARTS_AT_END, WHOLE_MS, ROWS_FOLLOW, PLAIN, HAS_RESOURCES,
    RSS_IN_PAGES, DISK_IN_PAGES, START_IN_MS, CPU_IN_MS, WARMTH_IN_MS, HAS_TEMPERATURE, THROTTLING_TOLD, THROTTLED,
    FAR_BELOW, WAY,
    EMPTY_AFTER = WAY + N_HISTOGRAM_NAMES * 4,
    N_CHANCES = EMPTY_AFTER + N_HISTOGRAM_NAMES * 2
};

enum coder_mode { READING, WRITING, MEASURING };

typedef struct {
    uint16_t set_4096, n;
} chance;

typedef struct {
    uint16_t start, frequency, bits;
} step;

typedef struct {
    enum coder_mode mode;
    /* Why nothing more is coded; NULL: all is well. What is read from then on means nothing, and is within bounds. */
    const char *refusal;
    /* Numbers are so great that only Python reckons with them. */
    bool is_beyond;
    uint32_t state;
    const uint8_t *at, *end;
    step *steps;
    size_t n_steps, step_capacity;
    double spent;
    chance chances[N_CHANCES];
} coder;

typedef struct {
    uint16_t radius;
    const uint16_t *starts;
} table;

extern const table fl_tables[N_TABLES];
extern const uint16_t fl_variances[N_TABLES];
/* The symbol of the first place of a stretch of 64, and where the next symbol begins. */
typedef struct {
    uint16_t symbol, next;
} stretch;

/* The table of each variance, and of each table its stretches, once `open_stretches` made them. */
extern uint8_t fl_table_of[GREATEST_VARIANCE + 1];
extern stretch fl_stretches[N_TABLES][N_COARSE];
void open_stretches(unsigned which);

void coder_begin(coder *c, enum coder_mode mode);
void coder_open(coder *c, const uint8_t *bytes, size_t size);
void coder_close(coder *c);
/* Give the bytes of everything that was coded into a block that the caller frees, after `head` free bytes. */
uint8_t *coder_finish(coder *c, size_t head, size_t *size);
void put_step(coder *c, uint32_t start, uint32_t frequency, unsigned bits);
/* Make room for more steps; false: refused, there is no memory. */
bool has_room_for_steps(coder *c, size_t n);
/* Bits that a symbol costs, by its frequency; nought: nobody has asked for them, and `learn_bits_of_symbol` tells. */
extern double fl_symbol_bits[(1u << TABLE_BITS) + 1];
double learn_bits_of_symbol(uint32_t frequency);
/* Bits that a flag of this chance costs. */
double bits_of_flag(uint32_t chance_4096);
uint64_t code_bits(coder *c, uint64_t value, unsigned n_bits);
uint64_t code_integer(coder *c, unsigned name, uint64_t value);
int64_t code_signed(coder *c, unsigned name, int64_t value);
/* Code a number that is expected near a mean; refuses what is beyond 2**33. */
int64_t code_near(coder *c, uint64_t mean, uint64_t variance_16, int64_t number);
void tables_open(void);

static inline void refuse(coder *c, const char *reason)
{
    if (c->refusal == NULL)
        c->refusal = reason;
}

static inline void refuse_beyond(coder *c)
{
    if (c->refusal == NULL)
        c->is_beyond = true;
    refuse(c, "numbers too great for this codec");
}

static inline void take_step(coder *c, uint32_t start, uint32_t frequency, unsigned bits)
{
    uint32_t state = frequency * (c->state >> bits) + (c->state & ((1u << bits) - 1)) - start;
    if (state < LOWEST) {
        if (c->at == c->end) {
            refuse(c, "the stream ends too early");
        } else {
            state = state << 16 | (uint32_t)c->at[0] << 8 | c->at[1];
            c->at += 2;
        }
    }
    c->state = state;
}

/* The stretches of a table, which are made when they are first asked for, since most tables never are. */
static inline const stretch *stretches_of(unsigned which)
{
    if (fl_stretches[which][0].next == 0)
        open_stretches(which);
    return fl_stretches[which];
}

/* The symbol that a place belongs to. */
static inline uint32_t symbol_at(const stretch *stretches, const uint16_t *starts, uint32_t place)
{
    const stretch first = stretches[place >> COARSE_BITS];
    uint32_t symbol = first.symbol;
    if (first.next <= place)
        for (symbol++; starts[symbol + 1] <= place; symbol++) {
        }
    return symbol;
}

static inline double bits_of_symbol(uint32_t frequency)
{
    const double bits = fl_symbol_bits[frequency];
    return bits != 0 ? bits : learn_bits_of_symbol(frequency);
}

static inline void learn(chance *known, bool is_set)
{
    if (known->n < 40)
        known->n++;
    uint32_t set = known->set_4096;
    set = is_set ? set + (FLAG_ONE - set) / known->n : set - set / known->n;
    known->set_4096 = (uint16_t)(set < 16 ? 16 : set > FLAG_ONE - 16 ? FLAG_ONE - 16 : set);
}

static inline bool code_flag(coder *c, unsigned name, bool value)
{
    chance *known = &c->chances[name];
    const uint32_t ones = known->set_4096;
    if (c->mode == MEASURING) {
        c->spent += bits_of_flag(value ? ones : FLAG_ONE - ones);
        return value;
    }
    if (c->mode == READING) {
        value = (c->state & (FLAG_ONE - 1)) < ones;
        take_step(c, value ? 0 : ones, value ? ones : FLAG_ONE - ones, FLAG_BITS);
    } else {
        put_step(c, value ? 0 : ones, value ? ones : FLAG_ONE - ones, FLAG_BITS);
    }
    learn(known, value);
    return value;
}

#endif
