/* Makes a block of rows of the parts of a bundle, and names its methods to Python. */
#include "extension_rows.h"

/* Arguments of `rows`, in their order. */
enum { CAPACITY, N_OUTPUTS, N_AGREEMENT, IS_CLASSIFICATION, CATEGORIES, N_NUMBERS };

static PyTypeObject *rows_type;
PyObject *fl_name_of_values, *fl_name_of_number;

static void rows_dealloc(PyObject *object)
{
    rows_object *self = (rows_object *)object;
    PyTypeObject *type = object->ob_type;
    for (unsigned int i = 0; i < self->n_kept; i++)
        PyBuffer_Release(&self->kept[i]);
    Py_DecRef(self->categories);
    free(self->block.values);
    free(self->block.outside);
    free(self->block.rows);
    free(self->block.second);
    free(self->block.filled);
    free(self->slopes);
    free(self->grid);
    free(self->low);
    free(self->high);
    free(self->block.counts);
    free(self->block.latencies);
    PyObject_Free(object);
    Py_DecRef((PyObject *)type);
}

/* Whether the buffers are of the sizes that the numbers of features, outputs and edges ask for. */
static bool fits(const rows_object *self)
{
    const fl_rows *block = &self->block;
    const Py_buffer *kept = self->kept;
    const Py_ssize_t n = block->n_features, o = block->n_outputs, c = block->capacity;
    const Py_ssize_t d = (Py_ssize_t)sizeof(double), f = (Py_ssize_t)sizeof(float);
    bool is_fit = n > 0 && o > 0 && c > 0 && PyTuple_Size(self->categories) == n && kept[LIMITS].len == 2 * n * d &&
                  kept[STARTS].len == (n + 1) * (Py_ssize_t)sizeof(uint32_t) && kept[MEANS].len == n * d &&
                  kept[SLOPES].len == n * o * d && kept[INTERCEPTS].len == o * d && kept[ROWS].len == c * n * f &&
                  kept[ANSWERS].len == c * o * f && kept[ENTRY].len == n * f && kept[EXIT].len == o * f;
    is_fit = is_fit && block->starts[0] == 0 && kept[EDGES].len == (Py_ssize_t)block->starts[n] * d;
    for (Py_ssize_t i = 0; is_fit && i < n; i++)
        is_fit = block->starts[i] <= block->starts[i + 1];
    const Py_ssize_t n_agreement =
        block->is_classification ? 2 * (Py_ssize_t)FL_CONFIDENCE_BINS : (Py_ssize_t)block->n_disagreement_edges + 1;
    return is_fit && (Py_ssize_t)block->n_agreement == n_agreement && (block->is_classification || o == 1);
}

static uint32_t padded(uint32_t n)
{
    return (n + FL_PADDING - 1) / FL_PADDING * FL_PADDING;
}

/* Lay limits, slopes and edges as they are read fastest; false: there is no memory. */
static bool lay(rows_object *self)
{
    fl_rows *block = &self->block;
    const double *slopes = self->kept[SLOPES].buf, *limits = self->kept[LIMITS].buf;
    const uint32_t n = block->n_features, o = block->n_outputs;
    self->low = calloc(n, sizeof(double));
    self->high = calloc(n, sizeof(double));
    if (self->low == NULL || self->high == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        self->low[i] = limits[2 * i];
        self->high[i] = limits[2 * i + 1];
    }
    block->n_padded = padded(o);
    block->second = calloc(2 * (size_t)block->n_padded, sizeof(double));
    block->filled = calloc(2 * (size_t)n, sizeof(double));
    block->slopes = self->slopes = calloc((size_t)n * block->n_padded, sizeof(double));
    if (block->second == NULL || block->filled == NULL || self->slopes == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++)
        memcpy(self->slopes + (size_t)i * block->n_padded, slopes + (size_t)i * o, o * sizeof(double));
    uint32_t width = 0;
    for (uint32_t i = 0; i < n; i++)
        if (block->starts[i + 1] - block->starts[i] > width)
            width = block->starts[i + 1] - block->starts[i];
    block->grid_width = width = padded(width ? width : 1);
    if (width > FL_MOST_COMPARED)
        return true;
    block->grid = self->grid = calloc((size_t)n * width, sizeof(double));
    for (uint32_t i = 0; self->grid != NULL && i < n; i++)
        for (uint32_t k = 0; k < width; k++)
            self->grid[(size_t)i * width + k] =
                block->starts[i] + k < block->starts[i + 1] ? block->edges[block->starts[i] + k] : (double)INFINITY;
    return self->grid != NULL;
}

PyObject *fl_make_rows(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments)
{
    (void)module;
    if (n_arguments != N_NUMBERS + N_BUFFERS || arguments[CATEGORIES]->ob_type != &PyTuple_Type) {
        PyErr_SetString(PyExc_TypeError, "rows(...): see edge_agent/engine/rows.py");
        return NULL;
    }
    unsigned long numbers[CATEGORIES];
    for (int i = 0; i < CATEGORIES; i++) {
        numbers[i] = PyLong_AsUnsignedLong(arguments[i]);
        if (PyErr_Occurred() != NULL)
            return NULL;
        if (numbers[i] > 1u << 20) {
            PyErr_SetString(PyExc_ValueError, "rows(...): a number is too large");
            return NULL;
        }
    }
    rows_object *self = (rows_object *)PyType_GenericAlloc(rows_type, 0);
    if (self == NULL)
        return NULL;
    self->categories = arguments[CATEGORIES];
    Py_IncRef(self->categories);
    for (; self->n_kept < N_BUFFERS; self->n_kept++) {
        const int flags = self->n_kept == ANSWERS || self->n_kept == ROWS || self->n_kept == ENTRY ? PyBUF_WRITABLE : PyBUF_SIMPLE;
        if (PyObject_GetBuffer(arguments[N_NUMBERS + self->n_kept], &self->kept[self->n_kept], flags) != 0) {
            Py_DecRef((PyObject *)self);
            return NULL;
        }
    }
    fl_rows *block = &self->block;
    const Py_buffer *kept = self->kept;
    block->ways = fl_rows_fastest();
    self->knows_objects = fl_knows_objects;
    block->capacity = (uint32_t)numbers[CAPACITY];
    block->n_outputs = (uint32_t)numbers[N_OUTPUTS];
    block->n_agreement = (uint32_t)numbers[N_AGREEMENT];
    block->is_classification = numbers[IS_CLASSIFICATION] != 0;
    block->n_features = (uint32_t)kept[FLAGS].len;
    block->n_output_edges = (uint32_t)(kept[OUTPUT_EDGES].len / (Py_ssize_t)sizeof(double));
    block->n_disagreement_edges = (uint32_t)(kept[DISAGREEMENT_EDGES].len / (Py_ssize_t)sizeof(double));
    self->flags = kept[FLAGS].buf;
    block->starts = kept[STARTS].buf;
    block->edges = kept[EDGES].buf;
    block->output_edges = kept[OUTPUT_EDGES].buf;
    block->disagreement_edges = kept[DISAGREEMENT_EDGES].buf;
    block->means = kept[MEANS].buf;
    block->intercepts = kept[INTERCEPTS].buf;
    self->rows = kept[ROWS].buf;
    block->answers = kept[ANSWERS].buf;
    self->entry = kept[ENTRY].buf;
    self->exit = kept[EXIT].buf;
    if (!fits(self)) {
        Py_DecRef((PyObject *)self);
        PyErr_SetString(PyExc_ValueError, "rows(...): parts do not fit each other");
        return NULL;
    }
    block->values = calloc((size_t)block->capacity * block->n_features, sizeof(double));
    block->outside = calloc((size_t)block->capacity * block->n_features, 1);
    block->rows = calloc(block->capacity, sizeof(fl_row));
    block->counts = calloc(fl_rows_counts(block), sizeof(uint64_t));
    block->latencies = calloc(FL_BUCKETS, sizeof(uint32_t));
    block->first_bucket = block->last_bucket = FL_BUCKETS;
    /* No latency equals it. */
    block->latency_us = (double)NAN;
    if (!lay(self) || !block->values || !block->outside || !block->rows || !block->counts || !block->latencies) {
        Py_DecRef((PyObject *)self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

#define FAST(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL

static PyMethodDef rows_methods[] = {
    {"encode", FAST(fl_block_encode), "Check and encode rows from a place on; return the place of one that Python must look at."},
    {"put", FAST(fl_block_put), "Take a row that Python encoded."},
    {"score_each", FAST(fl_block_score_each), "Have a runtime score row by row."},
    {"scored", FAST(fl_block_scored), "Take the rows' answers as they stand in the answers."},
    {"settle", fl_block_settle, METH_O, "Decide and count what was scored; return how many rows that were."},
    {"counts", fl_block_counts, METH_NOARGS, "Return the counts and start anew."},
    {"portable", fl_block_portable, METH_NOARGS, "Use nothing that not every processor or Python has."},
    {"forget", fl_block_forget, METH_NOARGS, "Forget the counts."},
    {"states", fl_block_states, METH_O, "Return what became of each place."},
    {"answer", fl_block_answer, METH_O, "Return what is known of one scored row."},
    {"outputs", fl_block_outputs, METH_O, "Return the numbers that the model answered for one scored row."},
    {"values", fl_block_values, METH_O, "Return a row as it was encoded, None where it is missing."},
    {"packed", fl_block_packed, METH_O, "Return a row as it was encoded, as bytes of float64."},
    {"lines", FAST(fl_block_lines), "Write one line for each counted row."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef rows_members[] = {
    {"place", Py_T_UINT, offsetof(rows_object, place), Py_READONLY, NULL},
    {"knows_objects", Py_T_UINT, offsetof(rows_object, knows_objects), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot rows_slots[] = {
    {Py_tp_dealloc, (void *)rows_dealloc},
    {Py_tp_methods, rows_methods},
    {Py_tp_members, rows_members},
    {Py_tp_doc, (void *)"A block of rows; used by one thread."},
    {0, NULL},
};

static PyType_Spec rows_spec = {
    "fieldloop_engine.Rows", sizeof(rows_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, rows_slots,
};

int fl_add_rows(PyObject *module)
{
    if (rows_type == NULL) {
        rows_type = (PyTypeObject *)PyType_FromSpec(&rows_spec);
        fl_name_of_values = PyUnicode_InternFromString("values");
        fl_name_of_number = PyUnicode_InternFromString("number");
    }
    if (rows_type == NULL || fl_name_of_values == NULL || fl_name_of_number == NULL)
        return -1;
    return PyModule_AddObjectRef(module, "Rows", (PyObject *)rows_type);
}
