/* fastbp.kernels._native: the prebuilt kernels. Which level of the CPU runs, where a function is, and the doors through
   which Python calls an entry: numbers and arrays become a table of integers, and the rest is machine code by Numba. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdlib.h>
#include <string.h>
#include "native.h"
#include "pool.h"
#ifdef __x86_64__
#include <cpuid.h>
#endif

#define HIDDEN __attribute__((visibility("hidden")))

static const struct level *chosen;

/* What the objects name beside each other. */
HIDDEN void region32(int64_t task, int64_t arguments, int64_t pieces, int64_t threads) __asm__("fastbp.region.float32");
HIDDEN void region64(int64_t task, int64_t arguments, int64_t pieces, int64_t threads) __asm__("fastbp.region.float64");
void region32(int64_t task, int64_t arguments, int64_t pieces, int64_t threads) {
    fastbp_region(task, arguments, pieces, threads);
}
void region64(int64_t task, int64_t arguments, int64_t pieces, int64_t threads) {
    fastbp_region(task, arguments, pieces, threads);
}
/* Numba's arrays may own memory; those of kernels never do. */
HIDDEN void NRT_MemInfo_call_dtor(void *info) {
    (void)info;
    abort();
}

#ifdef __x86_64__
/* The level of this CPU as the psABI defines them, and the system's leave to use the registers: 1, 3 or 4. */
static int cpu_level(void) {
    unsigned a, b, c, d, low, high, seven, extended;
    const unsigned one = bit_FMA | bit_MOVBE | bit_OSXSAVE | bit_AVX | bit_F16C, three = bit_BMI | bit_AVX2 | bit_BMI2;
    const unsigned four = bit_AVX512F | bit_AVX512DQ | bit_AVX512CD | bit_AVX512BW | bit_AVX512VL;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & one) != one) return 1;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &seven, &c, &d) || !__get_cpuid(0x80000001, &a, &b, &extended, &d)) return 1;
    if ((low & 0x06) != 0x06 || (seven & three) != three || !(extended & bit_LZCNT)) return 1;
    return (low & 0xe6) == 0xe6 && (seven & four) == four ? 4 : 3;
}
#else
/* AArch64 has one level, its base instructions, which every CPU has. */
static int cpu_level(void) { return 1; }
#endif

static int number_of(const struct level *level) {
    const char *v = strrchr(level->name, 'v');
    return v ? atoi(v + 1) : 1;
}

/* start(level): use the kernels of a level, by its name, or of the highest that the CPU has, by an empty one. */
static PyObject *start(PyObject *module, PyObject *name) {
    const struct level *found = 0, *highest = 0;
    const int number = cpu_level();
    const char *wanted = PyUnicode_AsUTF8AndSize(name, 0);
    (void)module;
    if (!wanted) return 0;
    for (const struct level *level = levels; level->name && number_of(level) <= number; level++) {
        highest = level;
        if (!*wanted || !strcmp(wanted, level->name)) found = level;
    }
    if (!found)
        return PyErr_Format(PyExc_ValueError, "this CPU has no prebuilt kernels of level '%s', but those up to '%s'",
                            wanted, highest->name);
    if (chosen != found)
        for (pthread_key_t *const *key = found->keys; *key; key++)
            if (pthread_key_create(*key, free)) return PyErr_NoMemory();
    chosen = found;
    return PyUnicode_FromString(found->name);
}

static int is_chosen(void) {
    if (!chosen) PyErr_SetString(PyExc_RuntimeError, "start() comes first");
    return chosen != 0;
}

/* set_constant(name, value): tell the kernels a number of the machine. */
static PyObject *set_constant(PyObject *module, PyObject *arguments) {
    const char *name;
    long long value;
    (void)module;
    if (!is_chosen() || !PyArg_ParseTuple(arguments, "sL", &name, &value)) return 0;
    for (const struct constant *constant = chosen->constants; constant->name; constant++)
        if (!strcmp(constant->name, name)) {
            *constant->place = value;
            Py_RETURN_NONE;
        }
    return PyErr_Format(PyExc_KeyError, "%s", name);
}

static int by_name(const void *name, const void *symbol) { return strcmp(name, ((const struct symbol *)symbol)->name); }

/* address(symbol): where an outlined function is; 0 for one that is not here. */
static PyObject *address(PyObject *module, PyObject *symbol) {
    const char *name = PyUnicode_AsUTF8AndSize(symbol, 0);
    const struct symbol *found;
    (void)module;
    if (!name || !is_chosen()) return 0;
    found = bsearch(name, chosen->symbols, chosen->symbols_count, sizeof *found, by_name);
    return PyLong_FromVoidPtr(found ? found->code : 0);
}

/* The place of an array and its shape into slots; its element size into `size` where it is of the call's type. */
static int put_array(PyObject *array, char letter, Py_buffer *view, int64_t *slots, Py_ssize_t *size) {
    const int dimensions = letter >= 'a' ? 1 : 2, small = letter | 0x20;
    char format;
    /* Kernels write to some: one that may not be written to is refused here, where others would end the process. */
    if (PyObject_GetBuffer(array, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE)) return -1;
    format = view->format ? view->format[0] : 'B';
    if (format == 'q') format = 'l';
    if (view->ndim == dimensions && (!view->format || !view->format[1])
        && (small == 'i' ? format == 'l' && view->itemsize == 8 : format == 'd' || (small == 'r' && format == 'f'))
        && (small != 'r' || !*size || *size == view->itemsize)) {
        if (small == 'r') *size = view->itemsize;
        slots[0] = (int64_t)(intptr_t)view->buf;
        for (int k = 0; k < dimensions; k++) slots[1 + k] = view->shape[k];
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "a kernel expects a C-contiguous array of %d dimensions of %s, got %d of '%s'",
                 dimensions, small == 'i' ? "int64" : small == 'd' ? "float64" : "one type of floats", view->ndim,
                 view->format ? view->format : "B");
    PyBuffer_Release(view);
    return -1;
}

/* An entry, called by Python; `self` is its address. */
static PyObject *call(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    const struct entry *entry = PyLong_AsVoidPtr(self);
    int64_t slots[SLOTS * MOST_OPERANDS];
    Py_buffer views[MOST_OPERANDS];
    Py_ssize_t size = 0;
    int held = 0, failed = 0;
    if (count != (Py_ssize_t)strlen(entry->operands))
        return PyErr_Format(PyExc_TypeError, "%s expects %d arguments, got %zd", entry->name,
                            (int)strlen(entry->operands), count);
    for (int i = 0; i < count && !failed; i++) {
        int64_t *place = slots + SLOTS * i;
        if (entry->operands[i] == 'n') {
            *place = PyLong_AsLongLong(arguments[i]);
            failed = *place == -1 && PyErr_Occurred();
        } else if (entry->operands[i] == 'x') {
            const double number = PyFloat_AsDouble(arguments[i]);
            memcpy(place, &number, sizeof number);
            failed = number == -1 && PyErr_Occurred();
        } else {
            failed = put_array(arguments[i], entry->operands[i], &views[held], place, &size);
            held += !failed;
        }
    }
    if (!failed) {
        PyThreadState *state = PyEval_SaveThread();
        entry->door[size == 8](slots);
        PyEval_RestoreThread(state);
    }
    while (held) PyBuffer_Release(&views[--held]);
    if (failed) return 0;
    if (entry->result == 'n') return PyLong_FromLongLong(slots[0]);
    if (entry->result == 'x') {
        double number;
        memcpy(&number, slots, sizeof number);
        return PyFloat_FromDouble(number);
    }
    Py_RETURN_NONE;
}

/* entry(name): what Python calls; None for one that is not here. */
static PyObject *entry_of(PyObject *module, PyObject *name) {
    const char *wanted = PyUnicode_AsUTF8AndSize(name, 0);
    (void)module;
    if (!wanted || !is_chosen()) return 0;
    for (const struct entry *entry = chosen->entries; entry->name; entry++)
        if (!strcmp(entry->name, wanted)) {
            PyMethodDef *method = calloc(1, sizeof *method); /* for as long as the process lives */
            PyObject *self = PyLong_FromVoidPtr((void *)entry), *made;
            if (!method || !self) return PyErr_NoMemory();
            method->ml_name = entry->name;
            method->ml_meth = (PyCFunction)(void (*)(void))call;
            method->ml_flags = METH_FASTCALL;
            made = PyCFunction_NewEx(method, self, 0);
            Py_DECREF(self);
            return made;
        }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"start", start, METH_O, 0},
    {"set_constant", set_constant, METH_VARARGS, 0},
    {"address", address, METH_O, 0},
    {"entry", entry_of, METH_O, 0},
    {0},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", 0, -1, methods, 0, 0, 0, 0};

PyMODINIT_FUNC PyInit__native(void) {
    PyObject *module, *region;
    if (fastbp_pool_init()) return PyErr_NoMemory();
    module = PyModule_Create(&definition);
    region = PyLong_FromVoidPtr((void *)fastbp_region);
    if (module && region && !PyModule_AddStringConstant(module, "digest", digest)
        && !PyModule_AddObjectRef(module, "region", region)) {
        Py_DECREF(region);
        return module;
    }
    Py_XDECREF(region);
    Py_XDECREF(module);
    return 0;
}
