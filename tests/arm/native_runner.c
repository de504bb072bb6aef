/* Scores rows on another architecture, under emulation.
 *
 * usage: native_runner TABLE FLAGS: rows of float32 come on the standard input, answers of float32 go to the output. */
#include <stdio.h>
#include <stdlib.h>

#include "engine.h"

int main(int argc, char **argv)
{
    static unsigned char table[16u << 20];
    FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL)
        return 2;
    const size_t size = fread(table, 1, sizeof table, file);
    fclose(file);
    fl_refusal refusal;
    fl_model *model = fl_open(table, size, (uint32_t)atoi(argv[2]), &refusal);
    if (model == NULL) {
        fprintf(stderr, "operation %u: %s\n", (unsigned)refusal.operation, fl_reason(refusal.status));
        return 1;
    }
    for (uint32_t i = 0; i < fl_n_operations(model); i++)
        fprintf(stderr, "%s ", fl_layout(model, i));
    float *row = calloc(fl_n_features(model), sizeof *row), *answer = calloc(fl_n_outputs(model), sizeof *answer);
    while (fread(row, sizeof *row, fl_n_features(model), stdin) == fl_n_features(model)) {
        fl_score(model, 1, row, answer);
        fwrite(answer, sizeof *answer, fl_n_outputs(model), stdout);
    }
    free(row);
    free(answer);
    fl_close(model);
    return 0;
}
