/* A pool of threads for parallel regions.

   Pieces are taken, not assigned: whoever has nothing to do takes the next one, the caller too, and the caller waits
   for nobody who has not begun one. A region is open in one of 64 slots. Its tickets, each for a piece, and its places,
   each for a helper, are one atomic number with the slot's generation, so a helper gets in by one compare-and-swap,
   which fails if the region it has read about has ended. Threads are made when a region finds too few idle ones, and
   stay. Idle threads look for a region for a while, then sleep on a futex, and are woken on another core than the
   caller's. They know nothing of Python and hold no lock, so the process may end, or the interpreter, whatever they
   do. */
#define _GNU_SOURCE
#include "pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    SLOTS = 64,            /* regions that are open at once; the caller of one more does it alone */
    MOST_HELPERS = 1023,   /* of a region, and threads of the pool */
    MOST_TICKETS = 0xffff, /* of a region: with more pieces, a ticket is for several */
    STACK_BYTES = 2 << 20, /* of a thread: the kernels take less than 64 KiB, a user's own loss may take more */
    TURNS = 16,            /* pauses between two looks at the clock */
    REFUSED_REGIONS = 1000 /* that go by before the system, which has refused a thread, is asked for one again */
};
#ifndef SPIN_NANOSECONDS
#define SPIN_NANOSECONDS 50000 /* how long threads look for the next region, or a caller for the end of its own */
#endif

/* The number of a region: generation << 26 | places << 16 | tickets left. */
#define TICKET UINT64_C(1)
#define PLACE (UINT64_C(1) << 16)
#define GENERATION (UINT64_C(1) << 26)
#define LEFT(number) ((number) & (PLACE - 1))
#define PLACES(number) ((number) & (GENERATION - PLACE))

/* Of the count of idle threads: its upper half counts those that spin, the lower one those that sleep. */
#define SPINNING (UINT64_C(1) << 32)
#define SLEEPING UINT64_C(1)

#define WAITING (UINT32_C(1) << 31) /* in `missing`: the caller sleeps on it */

#define LINES _Alignas(128) /* what different threads write is on different pairs of cache lines */

struct region {
    LINES _Atomic uint64_t number;
    _Atomic int64_t task, arguments, pieces, grain; /* grain: pieces of a ticket; the first one may have fewer */
    _Atomic uintptr_t owner;                        /* the calling thread, 0 while there is none */
    _Atomic int core;                               /* where that was last seen */
    LINES _Atomic uint32_t missing;                 /* tickets that are not done */
};

static struct region regions[SLOTS];
static LINES _Atomic uint64_t taken;    /* a bit a slot: it has a caller */
static LINES _Atomic uint64_t offers;   /* a bit a slot: it may have a piece and a place for a helper */
static LINES _Atomic uint64_t idle;     /* threads of the pool */
static LINES _Atomic uint32_t calls;    /* counts up when sleepers are woken: what they sleep on */
static LINES _Atomic uint32_t forks;    /* between the first process and this one */
static _Atomic uint32_t workers, refused;
static atomic_bool growing;
static uint32_t cores;

static long futex(_Atomic uint32_t *word, int operation, uint32_t value) {
    return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

struct spin {
    uint32_t turns;
    int64_t end;
};

/* Let a moment go by; return whether to look again, rather than sleep. */
static bool spin(struct spin *spin) {
    struct timespec time;
    int64_t now;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb"); /* `yield` does nothing on most CPUs */
#endif
    if (spin->turns++ % TURNS) return true;
    clock_gettime(CLOCK_MONOTONIC, &time);
    now = time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
    if (!spin->end) spin->end = now + SPIN_NANOSECONDS;
    return now < spin->end;
}

static void run(int64_t task, int64_t arguments, int64_t first, int64_t end) {
    void (*function)(int64_t, int64_t) = (void (*)(int64_t, int64_t))(uintptr_t)task;
    for (int64_t piece = first; piece < end; piece++) function(arguments, piece);
}

static uint64_t bit_of(const struct region *region) { return UINT64_C(1) << (region - regions); }

/* Take a ticket of a region, with a `place` of PLACE for a helper's first one, else 0, and run its pieces.

   Returns false where there is none. What is read of the region may be of its next generation: then the number has
   changed too, and it is read again. */
static bool run_next(struct region *region, uint64_t place) {
    uint64_t number = atomic_load(&region->number), next;
    int64_t task, arguments, pieces, grain, first, end;
    do {
        if (!LEFT(number) || (place && !PLACES(number))) return false;
        task = atomic_load_explicit(&region->task, memory_order_acquire);
        arguments = atomic_load_explicit(&region->arguments, memory_order_acquire);
        pieces = atomic_load_explicit(&region->pieces, memory_order_acquire);
        grain = atomic_load_explicit(&region->grain, memory_order_acquire);
        next = number - place - TICKET;
    } while (!atomic_compare_exchange_weak(&region->number, &number, next));
    /* This ticket is not done, so the slot stays this region's until it is. */
    if ((!LEFT(next) || !PLACES(next)) && (atomic_load(&offers) & bit_of(region)))
        atomic_fetch_and(&offers, ~bit_of(region));
    if (place) atomic_fetch_sub(&idle, SPINNING);
    end = pieces - (int64_t)LEFT(next) * grain;
    first = end - grain;
    run(task, arguments, first < 0 ? 0 : first, end);
    return true;
}

/* A region with a piece and a place, or NULL. */
static struct region *offered(void) {
    for (uint64_t open = atomic_load(&offers); open; open &= open - 1) {
        struct region *region = &regions[__builtin_ctzll(open)];
        const uint64_t number = atomic_load(&region->number);
        if (LEFT(number) && PLACES(number)) return region;
    }
    return NULL;
}

/* Run pieces of a region until none is left; return whether there was one. */
static bool help(struct region *region, uint32_t born) {
    uint32_t done = 0;
    while (atomic_load(&forks) == born && run_next(region, done ? 0 : PLACE)) done++;
    if (!done || atomic_load(&forks) != born) return false;
    atomic_fetch_add(&idle, SPINNING); /* before the region ends, so that the next one finds this thread */
    if (atomic_fetch_sub(&region->missing, done) == (WAITING | done)) futex(&region->missing, FUTEX_WAKE, 1);
    return true;
}

/* Where a thread of the pool may run, and the first thread of the process; and the former while it sleeps. */
struct cores {
    cpu_set_t own, process, asleep;
};

static bool read_cores(cpu_set_t *own, cpu_set_t *process) {
    return !sched_getaffinity(0, sizeof *own, own) && !sched_getaffinity(getpid(), sizeof *process, process);
}

/* Have this thread woken elsewhere than on a core; return whether there is another one.

   Linux often wakes a thread on the core of the one that wakes it, though another core is free. There it would have to
   wait until that one, which calls, has done all pieces by itself. */
static bool leave(int core, struct cores *cores) {
    if (core < 0 || core >= CPU_SETSIZE || !read_cores(&cores->own, &cores->process)) return false;
    cores->asleep = cores->own;
    CPU_CLR(core, &cores->asleep);
    return CPU_COUNT(&cores->asleep) && !sched_setaffinity(0, sizeof cores->asleep, &cores->asleep);
}

/* Let this thread run where it might before, unless somebody has given it other cores; return whether it stays away.

   Where the process has been given just those on which it slept, it may have been too: then it stays, until the process
   may run elsewhere again. */
static bool stays_away(const struct cores *cores) {
    cpu_set_t own, process;
    if (!read_cores(&own, &process) || !CPU_EQUAL(&own, &cores->asleep)) return false;
    if (CPU_EQUAL(&process, &cores->asleep) && !CPU_EQUAL(&process, &cores->process)) return true;
    sched_setaffinity(0, sizeof cores->own, &cores->own);
    return false;
}

/* What each thread of the pool does, counted as spinning from the start. After a fork in a task of its own it is the
   thread that the child begins with; where that task returns, it has nothing to return to, and the child ends. */
static void *work(void *unused) {
    const uint32_t born = atomic_load(&forks);
    struct spin patience = {0};
    struct cores cores;
    struct region *helped = NULL;
    bool away = false;
    (void)unused;
    prctl(PR_SET_NAME, "fastbp");
    while (atomic_load(&forks) == born) {
        struct region *region = offered();
        uint32_t seen;
        if (region && help(region, born)) {
            patience = (struct spin){0};
            helped = region;
        }
        if (region || spin(&patience)) continue;
        if (!away) away = helped && leave(atomic_load(&helped->core), &cores);
        /* A caller offers a region, then looks for sleepers; a sleeper is counted, then looks for a region. */
        atomic_fetch_add(&idle, SLEEPING - SPINNING);
        seen = atomic_load(&calls);
        if (!offered()) futex(&calls, FUTEX_WAIT, seen);
        atomic_fetch_add(&idle, SPINNING - SLEEPING);
        if (away) away = stays_away(&cores);
        patience = (struct spin){0};
    }
    _exit(0);
}

/* Make so many threads, up to `most` in all. Signals are for the program's own threads, but for those of faults. */
static void grow(uint32_t more, uint32_t most) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    pthread_attr_t attributes;
    sigset_t blocked, before;
    if (atomic_load(&workers) >= most || atomic_exchange(&growing, true)) return;
    if (atomic_load(&refused)) {
        atomic_fetch_sub(&refused, 1);
    } else if (!pthread_attr_init(&attributes)) {
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        sigfillset(&blocked);
        for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
        pthread_sigmask(SIG_SETMASK, &blocked, &before);
        for (pthread_t thread; more && atomic_load(&workers) < most; more--) {
            atomic_fetch_add(&idle, SPINNING);
            if (pthread_create(&thread, &attributes, work, NULL)) {
                atomic_fetch_sub(&idle, SPINNING);
                atomic_store(&refused, REFUSED_REGIONS);
                break;
            }
            atomic_fetch_add(&workers, 1);
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
    }
    atomic_store(&growing, false);
}

/* See that so many threads look for a region. There need be no more of them than cores, unless one region asks. */
static void call_helpers(uint32_t helpers) {
    const uint64_t found = atomic_load(&idle);
    const uint32_t spinning = (uint32_t)(found / SPINNING), sleeping = (uint32_t)found;
    if (spinning >= helpers) return;
    if (sleeping) {
        atomic_fetch_add(&calls, 1);
        futex(&calls, FUTEX_WAKE, helpers - spinning);
    }
    if (spinning + sleeping < helpers)
        grow(helpers - spinning - sleeping, helpers < cores ? cores - 1 : helpers);
}

/* A slot that nobody has, or NULL. */
static struct region *take_slot(void) {
    uint64_t found = atomic_load(&taken);
    do
        if (!~found) return NULL;
    while (!atomic_compare_exchange_weak(&taken, &found, found | (found + 1)));
    return &regions[__builtin_ctzll(~found)];
}

/* Wait until the pieces that others have begun are done. */
static void wait_for_end(struct region *region) {
    struct spin patience = {0};
    uint32_t missing;
    while ((missing = atomic_load(&region->missing)))
        if (!spin(&patience)) break;
    if (!missing) return;
    missing = atomic_fetch_or(&region->missing, WAITING) | WAITING;
    while (missing != WAITING) {
        futex(&region->missing, FUTEX_WAIT, missing);
        missing = atomic_load(&region->missing);
    }
    atomic_store_explicit(&region->core, sched_getcpu(), memory_order_relaxed); /* it may be that of who woke it */
}

/* Open a region and have helpers called; its number comes last, and with it whoever looks gets in. */
static void offer(struct region *region, int64_t task, int64_t arguments, int64_t pieces, int64_t threads) {
    const int64_t grain = (pieces - 1) / MOST_TICKETS + 1, tickets = (pieces - 1) / grain + 1;
    const int64_t wanted = (threads < tickets ? threads : tickets) - 1;
    const uint64_t helpers = wanted < MOST_HELPERS ? (uint64_t)wanted : MOST_HELPERS;
    const uint64_t generation = (atomic_load(&region->number) & -GENERATION) + GENERATION;
    atomic_store_explicit(&region->owner, (uintptr_t)pthread_self(), memory_order_release);
    atomic_store_explicit(&region->core, sched_getcpu(), memory_order_relaxed);
    atomic_store_explicit(&region->task, task, memory_order_release);
    atomic_store_explicit(&region->arguments, arguments, memory_order_release);
    atomic_store_explicit(&region->pieces, pieces, memory_order_release);
    atomic_store_explicit(&region->grain, grain, memory_order_release);
    atomic_store_explicit(&region->missing, (uint32_t)tickets, memory_order_release);
    atomic_fetch_or(&offers, bit_of(region));
    atomic_store(&region->number, generation + helpers * PLACE + (uint64_t)tickets * TICKET);
    call_helpers((uint32_t)helpers);
}

void fastbp_region(int64_t task, int64_t arguments, int64_t pieces, int64_t threads) {
    struct region *const region = pieces > 1 && threads > 1 ? take_slot() : NULL;
    const uint32_t born = atomic_load(&forks);
    uint32_t done = 0;
    if (!region) {
        run(task, arguments, 0, pieces);
        return;
    }
    offer(region, task, arguments, pieces, threads);
    while (run_next(region, 0)) done++;
    /* In a child of a fork in a task, pieces that helpers had begun are lost with them. */
    if (atomic_load(&forks) == born && atomic_fetch_sub(&region->missing, done) != done) wait_for_end(region);
    atomic_store_explicit(&region->owner, 0, memory_order_release);
    atomic_fetch_and(&taken, ~bit_of(region));
}

/* In the child of a fork: one thread is left. Its own regions go on without helpers; the others are gone. */
static void start_alone(void) {
    uint64_t own = 0;
    atomic_fetch_add(&forks, 1);
    for (struct region *region = regions; region < regions + SLOTS; region++)
        if (atomic_load(&region->owner) == (uintptr_t)pthread_self()) own |= bit_of(region);
    atomic_store(&taken, own);
    atomic_store(&offers, 0);
    atomic_store(&idle, 0);
    atomic_store(&workers, 0);
    atomic_store(&refused, 0);
    atomic_store(&growing, false);
}

int fastbp_pool_init(void) {
    static atomic_bool begun;
    cpu_set_t cpus;
    if (atomic_exchange(&begun, true)) return 0;
    cores = sched_getaffinity(0, sizeof cpus, &cpus) ? MOST_HELPERS + 1 : (uint32_t)CPU_COUNT(&cpus);
    return pthread_atfork(NULL, NULL, start_alone);
}
