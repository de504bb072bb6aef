/* The codec as a Python module: `unpack(pack)` gives a list of payloads, `pack(payloads)` gives a pack.
 *
 * One block of memory serves all calls: the interpreter's lock is held throughout. ValueError: refused, and why.
 * OverflowError: Python can do it, this codec cannot. */
#if defined(FIELDLOOP_WITH_PYTHON_H)
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#else
#include "python_abi.h"
#endif

#include "codec.h"

static pack *whole;

static pack *borrow_pack(void)
{
    if (whole == NULL)
        whole = calloc(1, sizeof *whole);
    if (whole == NULL)
        PyErr_NoMemory();
    return whole;
}

static PyObject *refused(const char *reason)
{
    PyErr_SetString(whole->c.is_beyond ? PyExc_OverflowError : PyExc_ValueError, reason);
    return NULL;
}

static bool append_payload(void *list, const uint8_t *bytes, size_t size)
{
    PyObject *item = PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)size);
    const bool is_appended = item != NULL && PyList_Append(list, item) == 0;
    if (item != NULL)
        Py_DecRef(item);
    return is_appended;
}

static PyObject *codec_unpack(PyObject *module, PyObject *given)
{
    (void)module;
    Py_buffer view;
    if (borrow_pack() == NULL || PyObject_GetBuffer(given, &view, PyBUF_SIMPLE) != 0)
        return NULL;
    PyObject *payloads = PyList_New(0);
    const char *refusal = NULL;
    if (payloads != NULL)
        refusal = fl_unpack(whole, view.buf, (size_t)view.len, append_payload, payloads);
    PyBuffer_Release(&view);
    if (payloads == NULL || refusal == NULL)
        return payloads;
    Py_DecRef(payloads);
    return PyErr_Occurred() != NULL ? NULL : refused(refusal);
}

static PyObject *codec_pack(PyObject *module, PyObject *list)
{
    (void)module;
    payload payloads[MOST_WINDOWS];
    if (borrow_pack() == NULL)
        return NULL;
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
    uint8_t *packed;
    size_t size = 0;
    whole->c.is_beyond = false;
    const char *refusal = fl_pack(whole, payloads, (unsigned)n, &packed, &size);
    if (refusal != NULL)
        return refused(refusal);
    PyObject *made = PyBytes_FromStringAndSize((const char *)packed, (Py_ssize_t)size);
    free(packed);
    return made;
}

static PyMethodDef codec_methods[] = {
    {"unpack", codec_unpack, METH_O, "Return the payloads of version 1 that a payload of version 2 carries."},
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
