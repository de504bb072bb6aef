/* Opens tables and scores rows: the functions of engine.h. */
#include "engine.h"

#include <stdlib.h>

#include "model.h"

#define HEADER_BYTES 32u
#define CHECKED_FROM 20u
#define VERSION 1u

static const uint8_t magic[8] = {'F', 'L', 'N', 'A', 'T', 'I', 'V', 'E'};

typedef struct {
    uint32_t version, length, checksum, n_features, n_operations, n_outputs;
} header;

static fl_status read_header(const uint8_t *table, size_t size, header *found)
{
    if (size < HEADER_BYTES || memcmp(table, magic, sizeof magic) != 0)
        return FL_NO_TABLE;
    memcpy(found, table + sizeof magic, sizeof *found);
    if (found->version != VERSION)
        return FL_OTHER_VERSION;
    if (found->length != size)
        return FL_WRONG_LENGTH;
    if (found->checksum != fl_checksum(table + CHECKED_FROM, size - CHECKED_FROM))
        return FL_DAMAGED;
    if (found->n_operations > FL_MOST_OPERATIONS || found->n_features > FL_MOST_WIDTH)
        return FL_TOO_LARGE;
    return found->n_operations == 0 || found->n_features == 0 ? FL_BAD_SHAPE : FL_OK;
}

/* Widths of the vectors before an operation, and of those that it takes. */
typedef struct {
    uint32_t all[FL_MOST_OPERATIONS];
    uint32_t taken[FL_MOST_OPERATIONS];
} widths;

/* Read which vectors operation `place` takes. */
static void read_sources(fl_load *load, fl_operation *operation, const fl_operation *before, uint32_t place, widths *known)
{
    uint32_t *sources = fl_take(load, operation->n_sources, sizeof *sources);
    const float **taken = fl_take(load, operation->n_sources, sizeof *taken);
    for (uint32_t i = 0; i < operation->n_sources && load->status == FL_OK; i++) {
        const uint32_t source = fl_read_u32(load);
        if (source >= place) {
            fl_refuse(load, FL_BAD_SOURCE);
            return;
        }
        known->taken[i] = known->all[source];
        if (taken && sources) {
            sources[i] = source;
            taken[i] = before[source].vector;
        }
    }
    operation->sources = sources;
    operation->taken = taken;
    operation->width_in = operation->n_sources ? known->taken[0] : 0;
}

/* Read one record: kind, width, number of sources, bytes of its parts, the sources, the parts. */
static void read_operation(fl_load *load, fl_operation *operation, const fl_operation *before, uint32_t place, widths *known)
{
    const uint8_t *end_of_table = load->end;
    memset(operation, 0, sizeof *operation);
    operation->kind = fl_read_u32(load);
    operation->width = fl_read_u32(load);
    operation->n_sources = fl_read_u32(load);
    const uint32_t n_bytes = fl_read_u32(load);
    if (operation->kind >= FL_KINDS || (operation->kind == FL_ROW) != (place == 0))
        fl_refuse(load, FL_UNKNOWN);
    if (operation->width > FL_MOST_WIDTH || operation->n_sources > FL_MOST_OPERATIONS)
        fl_refuse(load, FL_TOO_LARGE);
    if (load->status != FL_OK)
        return;
    const fl_kind *kind = &fl_kinds[operation->kind];
    const bool takes_any = kind->n_sources == 0 && place != 0;
    if (operation->width == 0 || (takes_any ? operation->n_sources == 0 : operation->n_sources != kind->n_sources))
        fl_refuse(load, FL_BAD_SHAPE);
    read_sources(load, operation, before, place, known);
    operation->run = kind->run;
    operation->vector = fl_take(load, operation->width, sizeof *operation->vector);
    known->all[place] = operation->width;
    fl_add_work(load, operation->width);
    if (load->status == FL_OK && n_bytes > (size_t)(load->end - load->at))
        fl_refuse(load, FL_WRONG_LENGTH);
    if (load->status != FL_OK)
        return;
    const uint8_t *end_of_record = load->at + n_bytes;
    load->end = end_of_record;
    kind->read(load, operation, known->taken);
    if (load->status == FL_OK && load->at != end_of_record)
        fl_refuse(load, FL_WRONG_LENGTH);
    load->end = end_of_table;
}

/* Read a whole table; return the model, or NULL while sizes are added up. */
static fl_model *read_model(fl_load *load, const header *found, uint32_t *place)
{
    widths known;
    fl_operation passing;
    fl_model *model = fl_take(load, 1, sizeof *model);
    fl_operation *operations = fl_take(load, found->n_operations, sizeof *operations);
    for (*place = 0; *place < found->n_operations && load->status == FL_OK; ++*place) {
        fl_operation *operation = operations ? operations + *place : &passing;
        read_operation(load, operation, operations, *place, &known);
        if (load->status != FL_OK)
            return NULL;
    }
    if (load->status == FL_OK && load->at != load->end)
        fl_refuse(load, FL_WRONG_LENGTH);
    if (load->status == FL_OK && (known.all[0] != found->n_features || known.all[*place - 1] != found->n_outputs))
        fl_refuse(load, FL_BAD_SHAPE);
    void *scratch = fl_take(load, load->scratch, 1);
    if (model == NULL || load->status != FL_OK)
        return NULL;
    model->n_features = found->n_features;
    model->n_outputs = found->n_outputs;
    model->n_operations = found->n_operations;
    model->operations = operations;
    model->scratch = scratch;
    return model;
}

static fl_model *open_table(const uint8_t *table, size_t size, uint32_t flags, fl_refusal *refusal)
{
    header found;
    refusal->operation = 0;
    refusal->status = read_header(table, size, &found);
    if (refusal->status != FL_OK)
        return NULL;
    /* 1. What would it take? Nothing is asked for before this is known to be bearable. */
    const fl_load start = {.at = table + HEADER_BYTES, .end = table + size, .flags = flags};
    fl_load load = start;
    read_model(&load, &found, &refusal->operation);
    refusal->status = load.status;
    if (load.status != FL_OK)
        return NULL;
    /* 2. One block for everything. */
    void *memory = calloc(1, load.used + FL_ALIGNMENT);
    if (memory == NULL) {
        refusal->status = FL_NO_MEMORY;
        return NULL;
    }
    /* 3. Lay the model into it; what is in trees is verified here, before anything runs. */
    fl_load laying = start;
    laying.block = (uint8_t *)memory + (FL_ALIGNMENT - (uintptr_t)memory % FL_ALIGNMENT) % FL_ALIGNMENT;
    laying.size = load.used;
    fl_model *model = read_model(&laying, &found, &refusal->operation);
    refusal->status = laying.status;
    if (model == NULL) {
        free(memory);
        return NULL;
    }
    model->memory = memory;
    model->memory_bytes = load.used + FL_ALIGNMENT;
    return model;
}

uint32_t fl_interface(void)
{
    return FL_INTERFACE;
}

fl_model *fl_open(const void *table, size_t size, uint32_t flags, fl_refusal *refusal)
{
    return open_table(table, size, flags, refusal);
}

void fl_close(fl_model *model)
{
    if (model != NULL)
        free(model->memory);
}

const char *fl_reason(uint32_t status)
{
    static const char *const reasons[] = {
        [FL_OK] = "nothing is wrong",
        [FL_NO_TABLE] = "it is no model table",
        [FL_OTHER_VERSION] = "it is of a version that this engine does not know",
        [FL_WRONG_LENGTH] = "it is longer or shorter than it says",
        [FL_DAMAGED] = "its checksum does not fit: it is damaged",
        [FL_UNKNOWN] = "it has an operation that this engine does not know",
        [FL_BAD_SOURCE] = "an operation takes a vector that does not stand before it",
        [FL_BAD_SHAPE] = "parts of an operation do not fit each other",
        [FL_BAD_NUMBER] = "a number is none, infinite or out of its range",
        [FL_BAD_ORDER] = "numbers that must ascend do not",
        [FL_BAD_TREE] = "a tree has no end, or places outside of the table",
        [FL_TOO_LARGE] = "it would take more memory, or more work a row, than a device should give",
        [FL_NO_MEMORY] = "there is not enough memory for it now",
    };
    return status < sizeof reasons / sizeof *reasons ? reasons[status] : "for a reason that is not known";
}

uint32_t fl_n_features(const fl_model *model)
{
    return model->n_features;
}

uint32_t fl_n_outputs(const fl_model *model)
{
    return model->n_outputs;
}

uint32_t fl_n_operations(const fl_model *model)
{
    return model->n_operations;
}

uint64_t fl_memory(const fl_model *model)
{
    return model->memory_bytes;
}

const char *fl_layout(const fl_model *model, uint32_t operation)
{
    if (operation >= model->n_operations || model->operations[operation].kind != FL_TREES)
        return "";
    return fl_trees_layout(model->operations[operation].parts.trees);
}

void fl_score(fl_model *model, size_t n_rows, const void *rows, void *answers)
{
    const size_t row_bytes = model->n_features * sizeof(float), answer_bytes = model->n_outputs * sizeof(float);
    const uint8_t *row = rows;
    uint8_t *answer = answers;
    const fl_operation *last = model->operations + model->n_operations - 1;
    for (size_t r = 0; r < n_rows; r++, row += row_bytes, answer += answer_bytes) {
        memcpy(model->operations[0].vector, row, row_bytes);
        for (fl_operation *operation = model->operations + 1; operation <= last; operation++)
            operation->run(operation, model->scratch);
        memcpy(answer, last->vector, answer_bytes);
    }
}
