/* Included before native/pool.c: atomic operations that may meet another thread come, now and then, after a nap. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

static inline int dawdle(void) {
    static _Thread_local uint32_t state;
    state = (state ? state : (uint32_t)(uintptr_t)&state) * 1664525u + 1013904223u;
    return state >> 24 ? 0 : usleep(state >> 16 & 63);
}

#undef atomic_compare_exchange_weak
#undef atomic_fetch_add
#undef atomic_fetch_and
#undef atomic_fetch_or
#undef atomic_fetch_sub
#define SLOWLY(operation, place, ...) (dawdle(), operation(place, __VA_ARGS__))
#define atomic_compare_exchange_weak(place, expected, value) \
    SLOWLY(atomic_compare_exchange_weak_explicit, place, expected, value, memory_order_seq_cst, memory_order_seq_cst)
#define atomic_fetch_add(place, value) SLOWLY(atomic_fetch_add_explicit, place, value, memory_order_seq_cst)
#define atomic_fetch_and(place, value) SLOWLY(atomic_fetch_and_explicit, place, value, memory_order_seq_cst)
#define atomic_fetch_or(place, value) SLOWLY(atomic_fetch_or_explicit, place, value, memory_order_seq_cst)
#define atomic_fetch_sub(place, value) SLOWLY(atomic_fetch_sub_explicit, place, value, memory_order_seq_cst)
