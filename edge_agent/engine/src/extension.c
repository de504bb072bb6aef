/* The engine as a Python module: `open(table, flags)` gives a model that scores lists of floats, or buffers of float32.
 *
 * A model belongs to one caller at a time: while it is busy (the interpreter's lock may be given away, or a row's number
 * may run code of its own) every other call is refused. */
#include "extension.h"
#include "extension_objects.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

/* Fewer rows are scored sooner than the lock is given away and taken back. */
#define ROWS_WITH_LOCK 16

typedef struct {
    PyObject base;
    fl_model *model;
    float *row, *answer;
    uint32_t n_features, n_outputs, n_operations;
    unsigned long long memory_bytes;
    bool is_busy;
} model_object;

static PyTypeObject *model_type;

static PyObject *none(void)
{
    PyObject *value = &_Py_NoneStruct;
    Py_IncRef(value);
    return value;
}

static bool begin(model_object *self)
{
    if (self->model == NULL)
        PyErr_SetString(PyExc_ValueError, "the model is closed");
    else if (self->is_busy)
        PyErr_SetString(PyExc_RuntimeError, "the model is scoring for another caller: one model a thread");
    else
        self->is_busy = true;
    return self->is_busy && PyErr_Occurred() == NULL;
}

/* Borrow item i of a list or tuple. */
static PyObject *item_of(PyObject *row, bool is_list, Py_ssize_t i)
{
    return is_list ? PyList_GetItem(row, i) : PyTuple_GetItem(row, i);
}

static bool refuse_length(const model_object *self, Py_ssize_t found)
{
    PyErr_Format(PyExc_ValueError, "row of %zd values, the model takes %zd", found, (Py_ssize_t)self->n_features);
    return false;
}

/* Read a list or tuple of numbers into the model's row. */
static bool take_items(model_object *self, PyObject *row, bool is_list)
{
    const Py_ssize_t n = is_list ? PyList_Size(row) : PyTuple_Size(row);
    if (n != (Py_ssize_t)self->n_features)
        return refuse_length(self, n);
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = item_of(row, is_list, i);
        const double number = item ? PyFloat_AsDouble(item) : -1.0;
        if (number == -1.0 && PyErr_Occurred() != NULL)
            return false;
        self->row[i] = (float)number;
        if (isinf(self->row[i]) && !isinf(number)) {
            PyErr_Format(PyExc_OverflowError, "value %zd of the row does not fit into float32", i);
            return false;
        }
    }
    return true;
}

static bool holds_floats(const Py_buffer *view)
{
    const char *format = view->format ? view->format : "B";
    if (*format == '<' || *format == '=' || *format == '@')
        format++;
    /* Bytes are taken for float32 as they lie in memory. */
    return strcmp(format, "f") == 0 || strcmp(format, "B") == 0;
}

/* Read a buffer of float32 into the model's row. 0: it is none, or of other numbers; -1: refused. */
static int take_buffer(model_object *self, PyObject *row)
{
    Py_buffer view;
    if (!PyObject_CheckBuffer(row))
        return 0;
    if (PyObject_GetBuffer(row, &view, PyBUF_FORMAT) != 0) {
        PyErr_Clear(); /* not contiguous: its items are still numbers */
        return 0;
    }
    int taken = holds_floats(&view);
    if (taken && view.len != (Py_ssize_t)(self->n_features * sizeof(float))) {
        refuse_length(self, view.len / (Py_ssize_t)sizeof(float));
        taken = -1;
    } else if (taken) {
        memcpy(self->row, view.buf, self->n_features * sizeof(float));
    }
    PyBuffer_Release(&view);
    return taken;
}

static bool take_row(model_object *self, PyObject *row)
{
    if (row->ob_type == &PyList_Type || row->ob_type == &PyTuple_Type)
        return take_items(self, row, row->ob_type == &PyList_Type);
    const int taken = take_buffer(self, row);
    if (taken != 0)
        return taken > 0;
    PyObject *list = PySequence_List(row);
    const bool is_taken = list != NULL && take_items(self, list, true);
    Py_DecRef(list);
    return is_taken;
}

static PyObject *list_of(const float *numbers, uint32_t n)
{
    PyObject *list = PyList_New(n);
    for (uint32_t i = 0; list != NULL && i < n; i++) {
        PyObject *number = PyFloat_FromDouble((double)numbers[i]);
        if (number == NULL || PyList_SetItem(list, i, number) != 0) {
            Py_DecRef(list);
            return NULL;
        }
    }
    return list;
}

static PyObject *model_score(PyObject *object, PyObject *row)
{
    model_object *self = (model_object *)object;
    if (!begin(self))
        return NULL;
    const bool is_taken = take_row(self, row);
    if (is_taken)
        fl_score(self->model, 1, self->row, self->answer);
    self->is_busy = false;
    return is_taken ? list_of(self->answer, self->n_outputs) : NULL;
}

/* How many rows two buffers hold; negative: they do not fit each other. */
static Py_ssize_t rows_in(const model_object *self, const Py_buffer *rows, const Py_buffer *answers)
{
    const size_t row_bytes = self->n_features * sizeof(float), answer_bytes = self->n_outputs * sizeof(float);
    const size_t n_rows = (size_t)rows->len / row_bytes;
    return n_rows * row_bytes == (size_t)rows->len && n_rows * answer_bytes == (size_t)answers->len ? (Py_ssize_t)n_rows : -1;
}

static PyObject *model_score_into(PyObject *object, PyObject *const *arguments, Py_ssize_t n_arguments)
{
    model_object *self = (model_object *)object;
    if (n_arguments != 2) {
        PyErr_SetString(PyExc_TypeError, "score_into(rows, answers): two buffers of float32");
        return NULL;
    }
    if (!begin(self))
        return NULL;
    Py_buffer rows, answers;
    bool is_scored = false;
    if (PyObject_GetBuffer(arguments[0], &rows, PyBUF_SIMPLE) == 0) {
        if (PyObject_GetBuffer(arguments[1], &answers, PyBUF_WRITABLE) == 0) {
            const Py_ssize_t n_rows = rows_in(self, &rows, &answers);
            if (n_rows < 0) {
                PyErr_Format(PyExc_ValueError, "buffers of %zd and %zd bytes are not rows of %zd float32 and answers of %zd",
                             rows.len, answers.len, (Py_ssize_t)self->n_features, (Py_ssize_t)self->n_outputs);
            } else if (n_rows > ROWS_WITH_LOCK) {
                PyThreadState *state = PyEval_SaveThread();
                fl_score(self->model, (size_t)n_rows, rows.buf, answers.buf);
                PyEval_RestoreThread(state);
            } else {
                fl_score(self->model, (size_t)n_rows, rows.buf, answers.buf);
            }
            is_scored = n_rows >= 0;
            PyBuffer_Release(&answers);
        }
        PyBuffer_Release(&rows);
    }
    self->is_busy = false;
    return is_scored ? none() : NULL;
}

static PyObject *model_layout(PyObject *object, PyObject *number)
{
    model_object *self = (model_object *)object;
    const unsigned long operation = PyLong_AsUnsignedLong(number);
    if (PyErr_Occurred() != NULL || !begin(self))
        return NULL;
    self->is_busy = false;
    return PyUnicode_FromString(operation < self->n_operations ? fl_layout(self->model, (uint32_t)operation) : "");
}

static PyObject *model_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    model_object *self = (model_object *)object;
    if (self->model != NULL) {
        if (!begin(self))
            return NULL;
        fl_close(self->model);
        self->model = NULL;
        self->is_busy = false;
    }
    return none();
}

static void model_dealloc(PyObject *object)
{
    model_object *self = (model_object *)object;
    PyTypeObject *type = object->ob_type;
    fl_close(self->model);
    free(self->row);
    free(self->answer);
    PyObject_Free(object);
    Py_DecRef((PyObject *)type);
}

static PyObject *refused(const fl_refusal *refusal)
{
    if (refusal->status == FL_NO_MEMORY)
        return PyErr_NoMemory();
    return PyErr_Format(PyExc_ValueError, "operation %u: %s", (unsigned)refusal->operation, fl_reason(refusal->status));
}

static PyObject *engine_open(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments)
{
    (void)module;
    Py_buffer table;
    if (n_arguments != 2) {
        PyErr_SetString(PyExc_TypeError, "open(table, flags)");
        return NULL;
    }
    const unsigned long flags = PyLong_AsUnsignedLong(arguments[1]);
    if (PyErr_Occurred() != NULL || PyObject_GetBuffer(arguments[0], &table, PyBUF_SIMPLE) != 0)
        return NULL;
    fl_refusal refusal;
    fl_model *model = fl_open(table.buf, (size_t)table.len, (uint32_t)flags, &refusal);
    PyBuffer_Release(&table);
    if (model == NULL)
        return refused(&refusal);
    model_object *self = (model_object *)PyType_GenericAlloc(model_type, 0);
    if (self == NULL) {
        fl_close(model);
        return NULL;
    }
    self->model = model;
    self->n_features = fl_n_features(model);
    self->n_outputs = fl_n_outputs(model);
    self->n_operations = fl_n_operations(model);
    self->memory_bytes = fl_memory(model);
    self->row = calloc(self->n_features, sizeof(float));
    self->answer = calloc(self->n_outputs, sizeof(float));
    if (self->row == NULL || self->answer == NULL) {
        Py_DecRef((PyObject *)self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static PyMethodDef model_methods[] = {
    {"score", model_score, METH_O, "Score one row: numbers, or a buffer of float32; returns a list of floats."},
    {"score_into", (PyCFunction)(void (*)(void))model_score_into, METH_FASTCALL,
     "Score rows of a buffer of float32 into another one."},
    {"layout", model_layout, METH_O, "Say how the trees of an operation are walked."},
    {"close", model_close, METH_NOARGS, "Give back the model's memory."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef model_members[] = {
    {"n_features", Py_T_UINT, offsetof(model_object, n_features), Py_READONLY, NULL},
    {"n_outputs", Py_T_UINT, offsetof(model_object, n_outputs), Py_READONLY, NULL},
    {"n_operations", Py_T_UINT, offsetof(model_object, n_operations), Py_READONLY, NULL},
    {"memory_bytes", Py_T_ULONGLONG, offsetof(model_object, memory_bytes), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot model_slots[] = {
    {Py_tp_dealloc, (void *)model_dealloc},
    {Py_tp_methods, model_methods},
    {Py_tp_members, model_members},
    {Py_tp_doc, (void *)"A model that is open; used by one thread."},
    {0, NULL},
};

static PyType_Spec model_spec = {
    "fieldloop_engine.Model", sizeof(model_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, model_slots,
};

static PyMethodDef engine_methods[] = {
    {"open", (PyCFunction)(void (*)(void))engine_open, METH_FASTCALL, "Open a model table; flag 1: the portable engine."},
    {"rows", (PyCFunction)(void (*)(void))fl_make_rows, METH_FASTCALL, "Make a block of rows: edge_agent/engine/rows.py."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef engine_module = {
    .m_base = {{1, NULL}, NULL, 0, NULL},
    .m_name = "fieldloop_engine",
    .m_doc = "The engine of native model tables.",
    .m_size = -1,
    .m_methods = engine_methods,
};

FL_PUBLIC PyObject *PyInit_fieldloop_engine(void)
{
    if (!fl_learn_objects())
        return NULL;
    PyObject *module = PyModule_Create2(&engine_module, PYTHON_ABI_VERSION);
    if (module == NULL)
        return NULL;
    if (model_type == NULL)
        model_type = (PyTypeObject *)PyType_FromSpec(&model_spec);
    if (model_type == NULL || PyModule_AddObjectRef(module, "Model", (PyObject *)model_type) != 0 ||
        fl_add_rows(module) != 0) {
        Py_DecRef(module);
        return NULL;
    }
    return module;
}
