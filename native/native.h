/* What is in the objects, as table.py writes it down, and what native.c does with it. */
#ifndef FASTBP_NATIVE_H
#define FASTBP_NATIVE_H

#include <pthread.h>
#include <stdint.h>

enum { SLOTS = 3, MOST_OPERANDS = 16 }; /* of doors.py: integers for each argument; arguments of an entry */

typedef void (*door_t)(int64_t *slots);

/* An outlined function: what kernels/native.py calls it, and where it is. */
struct symbol { const char *name; void *code; };

/* An entry: a letter for each argument and one for the result, see kernels/compile/signature.py; its doors for float32
   and float64. */
struct entry { const char *name, *operands; char result; door_t door[2]; };

/* A number of the machine that kernels read. */
struct constant { const char *name; int64_t *place; };

/* The kernels of one level of x86-64 or AArch64. The symbols are sorted by name; each list ends with a name, or a key, of 0. */
struct level {
    const char *name;
    int symbols_count;
    const struct symbol *symbols;
    const struct entry *entries;
    const struct constant *constants;
    pthread_key_t *const *keys; /* of scratch memory of each thread */
};

extern const struct level levels[]; /* of one platform, the highest last; ends with a name of 0 */
extern const char digest[];         /* of the kernels' sources */

#endif
