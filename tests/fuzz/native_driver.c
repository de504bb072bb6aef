/* Fuzzes the native engine: changes tables at random, keeps those that reach new code, and scores what is taken.
 *
 * Each changed table gets a right length and checksum, as they would keep all changes out of the loader.
 */
#include "harness.h"

#include "engine.h"

#define HEAD 20u

uint32_t fl_checksum(const uint8_t *bytes, size_t size);

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
        const uint32_t which = draw(sizeof odd / sizeof *odd);
        rows[i] = i < n_features ? 0.5F : which == 7 ? __builtin_nanf("") : which == 8 ? __builtin_inff() : odd[which];
    }
    fl_score(model, 3, rows, answers);
    for (uint32_t i = 0; i < fl_n_operations(model); i++)
        fl_layout(model, i);
    free(rows);
    free(answers);
    fl_close(model);
}

static void seal(void)
{
    if (current_size < HEAD)
        return;
    put_u32(12, (uint32_t)current_size);
    put_u32(16, fl_checksum(current + HEAD, current_size - HEAD));
}
