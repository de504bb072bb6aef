/* The codec as a Python module: `unpack(pack)` gives a list of payloads, `read(pack, makers)` a list of records,
 * `read_whole(pack, makers)` both, `pack(payloads)` a pack. ValueError: refused, and why. OverflowError: Python can do it, this codec cannot. */
#include "extension_records.h"

#include "codec.h"

/* One block of memory serves all calls, one at a time. Making objects may run a garbage collection, hence anything: a
 * call that comes in between finds nothing to borrow, and makes a block of its own. */
static pack *spare;

static pack *borrow_pack(void)
{
    pack *borrowed = spare;
    spare = NULL;
    if (borrowed == NULL)
        borrowed = calloc(1, sizeof *borrowed);
    if (borrowed == NULL)
        PyErr_NoMemory();
    return borrowed;
}

static void return_pack(pack *borrowed)
{
    if (spare == NULL) {
        spare = borrowed;
        return;
    }
    free(borrowed->c.steps);
    free(borrowed);
}

static void set_refused(const pack *p, const char *reason)
{
    if (PyErr_Occurred() == NULL)
        PyErr_SetString(p->c.is_beyond ? PyExc_OverflowError : PyExc_ValueError, reason);
}

typedef struct {
    PyObject *list;
    PyObject *const *makers;
    output message;
} collected;

static bool append(PyObject *list, PyObject *item)
{
    const bool is_appended = item != NULL && PyList_Append(list, item) == 0;
    if (item != NULL)
        Py_DecRef(item);
    return is_appended;
}

/* The payload that a window would have come in alone; NULL with Python's error set. */
static PyObject *payload_of(output *message, const pack *p, const window *w)
{
    message->size = 0;
    write_message(message, p, w);
    if (message->has_no_memory)
        return PyErr_NoMemory();
    return PyBytes_FromStringAndSize((const char *)message->bytes, (Py_ssize_t)message->size);
}

static bool append_payload(void *whose, const pack *p, const window *w)
{
    collected *all = whose;
    return append(all->list, payload_of(&all->message, p, w));
}

static bool append_record(void *whose, const pack *p, const window *w)
{
    collected *all = whose;
    return append(all->list, make_record(all->makers, p, w));
}

static bool append_whole(void *whose, const pack *p, const window *w)
{
    collected *all = whose;
    return append(all->list, make_whole(all->makers, p, w, payload_of(&all->message, p, w)));
}

static PyObject *collect(PyObject *given, record_sink sink, PyObject *const *makers)
{
    Py_buffer view;
    pack *p = borrow_pack();
    if (p == NULL)
        return NULL;
    collected all = {PyList_New(0), makers, {NULL, 0, 0, false}};
    if (all.list != NULL && PyObject_GetBuffer(given, &view, PyBUF_SIMPLE) == 0) {
        const char *refusal = fl_unpack(p, view.buf, (size_t)view.len, sink, &all);
        if (refusal != NULL)
            set_refused(p, refusal);
        PyBuffer_Release(&view);
    }
    free(all.message.bytes);
    return_pack(p);
    if (all.list == NULL || PyErr_Occurred() == NULL)
        return all.list;
    Py_DecRef(all.list);
    return NULL;
}

static PyObject *codec_unpack(PyObject *module, PyObject *given)
{
    (void)module;
    return collect(given, append_payload, NULL);
}

static PyObject *read_by(record_sink sink, PyObject *const *given, Py_ssize_t n)
{
    PyObject *makers[N_MAKERS];
    if (n != 2 || given[1]->ob_type != &PyTuple_Type || PyTuple_Size(given[1]) != N_MAKERS) {
        PyErr_SetString(PyExc_TypeError, "read(pack, makers): bytes and a tuple of five types");
        return NULL;
    }
    /* The caller's tuple keeps them alive. */
    for (Py_ssize_t i = 0; i < N_MAKERS; i++)
        makers[i] = PyTuple_GetItem(given[1], i);
    return collect(given[0], sink, makers);
}

static PyObject *codec_read(PyObject *module, PyObject *const *given, Py_ssize_t n)
{
    (void)module;
    return read_by(append_record, given, n);
}

static PyObject *codec_read_whole(PyObject *module, PyObject *const *given, Py_ssize_t n)
{
    (void)module;
    return read_by(append_whole, given, n);
}

static PyObject *codec_pack(PyObject *module, PyObject *list)
{
    (void)module;
    payload payloads[MOST_WINDOWS];
    if (list->ob_type != &PyList_Type) {
        PyErr_SetString(PyExc_TypeError, "pack(payloads): a list of bytes");
        return NULL;
    }
    const Py_ssize_t n = PyList_Size(list);
    if (n > MOST_WINDOWS) {
        PyErr_SetString(PyExc_ValueError, "from 1 to 16 windows can be packed");
        return NULL;
    }
    /* The list keeps its items alive, and no other code runs before the pack is made. */
    for (Py_ssize_t i = 0; i < n; i++) {
        char *bytes;
        Py_ssize_t size;
        PyObject *item = PyList_GetItem(list, i);
        if (item == NULL || PyBytes_AsStringAndSize(item, &bytes, &size) != 0)
            return NULL;
        payloads[i] = (payload){(const uint8_t *)bytes, (size_t)size};
    }
    pack *p = borrow_pack();
    if (p == NULL)
        return NULL;
    uint8_t *packed;
    size_t size = 0;
    p->c.is_beyond = false;
    const char *refusal = fl_pack(p, payloads, (unsigned)n, &packed, &size);
    PyObject *made = NULL;
    if (refusal == NULL)
        made = PyBytes_FromStringAndSize((const char *)packed, (Py_ssize_t)size);
    else
        set_refused(p, refusal);
    free(packed);
    return_pack(p);
    return made;
}

static PyMethodDef codec_methods[] = {
    {"unpack", codec_unpack, METH_O, "Return the payloads of version 1 that a payload of version 2 carries."},
    {"read", (PyCFunction)(void (*)(void))codec_read, METH_FASTCALL,
     "Return the records (key, window) that a payload of version 2 carries."},
    {"read_whole", (PyCFunction)(void (*)(void))codec_read_whole, METH_FASTCALL,
     "Return the records (key, window, payload of version 1) that a payload of version 2 carries."},
    {"pack", codec_pack, METH_O, "Return one payload of version 2 that carries a list of payloads of version 1."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef codec_module = {
    .m_base = {{1, NULL}, NULL, 0, NULL},
    .m_name = "fieldloop_codec",
    .m_doc = "Packs of telemetry windows; broker/packs.py describes them.",
    .m_size = -1,
    .m_methods = codec_methods,
};

FL_PUBLIC PyObject *PyInit_fieldloop_codec(void)
{
    return PyModule_Create2(&codec_module, PYTHON_ABI_VERSION);
}
