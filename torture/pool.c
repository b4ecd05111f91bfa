/* Regions of the pool of threads (native/pool.c) as no program would open them: pool.py compiles and runs this.

   pool regions SECONDS SEED FORKS   random regions from many threads at once, nested, with so many forks in a thousand
   pool alone                        where the system gives no thread, and then does
   pool idle                         with threads that sleep when nobody opens a region
   pool signals                      with a signal that no thread of the pool takes
   pool stack                        of pieces that take a megabyte of their thread's stack
   pool cores                        from one core and another, with threads that are to be woken elsewhere
   pool wide                         that are narrow after one that was wide
   pool exit                         that are open when the process ends
   Exit code 0: nothing was wrong. */
#define _GNU_SOURCE
#include "../native/pool.h"

#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OPENERS = 12, DEEPEST = 3, CHILD_SECONDS = 30, STACK = 1 << 20 };

static uint32_t forks_in_a_thousand;
static _Atomic long regions_opened, children;
static double end;

#define CHECK(right, ...) ((right) ? (void)0 : fail(__LINE__, __VA_ARGS__))
#define fail(line, ...) \
    (fprintf(stderr, "line %d: ", line), fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), _exit(1))

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static uint32_t draw(uint64_t *state, uint32_t below) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((*state >> 33) % below);
}

static int threads_of_pool(void) {
    DIR *folder = opendir("/proc/self/task");
    int count = -1; /* the program's own */
    CHECK(folder, "no /proc");
    for (struct dirent *entry; (entry = readdir(folder));) count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

/* What a region's tasks note; on the stack of its caller, and gone after the region. */
struct notes {
    int64_t pieces, threads;
    uint64_t seed;
    int depth;
    pid_t process;
    atomic_int inside;
    unsigned char *runs; /* of each piece; no atomic, so that the thread sanitizer sees whether the region orders it */
};

static void open_region(int64_t pieces, int64_t threads, uint64_t seed, int depth);
static void open_regions(uint64_t *state, int depth, int count);

/* Fork; the child goes on with its regions, or opens new ones, and ends rightly in either case. */
static void fork_here(uint64_t *state, int depth) {
    int status;
    sigset_t all;
    const pid_t child = fork();
    CHECK(child >= 0, "no fork");
    if (child) {
        CHECK(waitpid(child, &status, 0) == child && !status, "a child ends with status %#x", (unsigned)status);
        atomic_fetch_add(&children, 1);
        return;
    }
    alarm(CHILD_SECONDS);
    sigfillset(&all);
    pthread_sigmask(SIG_UNBLOCK, &all, NULL); /* all are blocked in a thread of the pool */
    forks_in_a_thousand = 0;
    open_region(50, 4, *state, DEEPEST);
    CHECK(threads_of_pool() > 0, "no threads in a child");
    open_regions(state, DEEPEST - 1, 5);
    if (!depth || draw(state, 2)) _exit(0);
}

static void task(int64_t arguments, int64_t piece) {
    struct notes *notes = (struct notes *)(intptr_t)arguments;
    uint64_t state = notes->seed + (uint64_t)piece;
    const int inside = 1 + atomic_fetch_add_explicit(&notes->inside, 1, memory_order_relaxed);
    CHECK(piece >= 0 && piece < notes->pieces, "piece %ld of %ld", (long)piece, (long)notes->pieces);
    CHECK(inside <= notes->threads, "more than %ld threads", (long)notes->threads);
    CHECK(!notes->runs[piece]++, "piece %ld runs again", (long)piece);
    for (volatile uint32_t i = draw(&state, 2) ? draw(&state, 3000) : 0; i; i--) continue;
    if (notes->pieces < 100 && notes->depth < DEEPEST && !draw(&state, 20)) open_regions(&state, notes->depth, 2);
    if (notes->pieces < 100 && draw(&state, 10000) < forks_in_a_thousand) fork_here(&state, notes->depth);
    atomic_fetch_sub_explicit(&notes->inside, 1, memory_order_relaxed);
}

static void open_region(int64_t pieces, int64_t threads, uint64_t seed, int depth) {
    /* The next region of this thread is likely to have its notes elsewhere: who still knew these finds no pieces. */
    struct notes places[8] = {0}, *const notes = &places[(seed >> 40) % 8];
    int64_t lost = 0;
    bool in_child;
    *notes = (struct notes){pieces, threads, seed, depth + 1, getpid(), 0, calloc((size_t)pieces + 1, 1)};
    CHECK(notes->runs, "no memory");
    fastbp_region((int64_t)(intptr_t)task, (int64_t)(intptr_t)notes, pieces, threads);
    in_child = getpid() != notes->process;
    for (int64_t i = 0; i < pieces; i++) {
        CHECK(notes->runs[i] < 2, "piece %ld of %ld ran %d times", (long)i, (long)pieces, notes->runs[i]);
        lost += !notes->runs[i];
    }
    /* In a child of a fork in a task, others had taken pieces, and most of them begun. */
    CHECK(lost <= (in_child ? threads - 1 : 0), "%ld of %ld pieces did not run", (long)lost, (long)pieces);
    CHECK(in_child || !notes->inside, "a region ends before its pieces");
    free(notes->runs);
    if (in_child && !depth) _exit(0);
    atomic_fetch_add(&regions_opened, 1);
}

static void open_regions(uint64_t *state, int depth, int count) {
    static const uint32_t most_pieces[] = {2, 3, 40, 2000};
    while (count--) {
        const bool huge = !depth && !draw(state, 500);
        const int64_t pieces = huge ? 65530 + draw(state, 100000) : draw(state, most_pieces[draw(state, 4)]) + 1;
        open_region(pieces, 1 + draw(state, draw(state, 20) ? 5 : 40), *state, depth);
    }
}

static void *opener(void *number) {
    uint64_t state = (uint64_t)(uintptr_t)number * 1000003;
    while (now(CLOCK_MONOTONIC) < end) {
        open_regions(&state, 0, 20);
        if (draw(&state, 100) < forks_in_a_thousand) fork_here(&state, 0);
        if (!draw(&state, 10)) usleep(draw(&state, 300));
    }
    return NULL;
}

static void in_thread(void *(*function)(void *), void *argument, size_t stack) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack);
    CHECK(!pthread_create(&thread, &attributes, function, argument), "no thread");
    pthread_join(thread, NULL);
}

static void regions(double seconds, uintptr_t seed) {
    pthread_t threads[OPENERS];
    end = now(CLOCK_MONOTONIC) + seconds;
    for (uintptr_t i = 0; i < OPENERS; i++)
        CHECK(!pthread_create(&threads[i], NULL, opener, (void *)(seed * OPENERS + i)), "no thread");
    for (int i = 0; i < OPENERS; i++) pthread_join(threads[i], NULL);
    printf("%ld regions, %ld children\n", (long)regions_opened, (long)children);
    CHECK(regions_opened, "no region in %g s", seconds);
}

static void alone(void) {
    struct rlimit before, none;
    uint64_t state = 1;
    mallopt(M_TOP_PAD, 1 << 22); /* memory for notes comes with the first of them */
    open_region(1, 1, 1, DEEPEST);
    getrlimit(RLIMIT_AS, &before);
    none = before;
    none.rlim_cur = 1;
    CHECK(!setrlimit(RLIMIT_AS, &none), "no limit");
    open_regions(&state, 1, 3000);
    CHECK(!setrlimit(RLIMIT_AS, &before) && !threads_of_pool(), "%d threads", threads_of_pool());
    open_regions(&state, 1, 3000);
    CHECK(threads_of_pool(), "no threads when the system gives them again");
}

static void slow_task(int64_t begun, int64_t piece) {
    (void)piece;
    atomic_fetch_add((atomic_int *)(intptr_t)begun, 1);
    usleep(50000);
}

static void idle(void) {
    atomic_int begun = 0;
    double used;
    open_region(100, 8, 1, DEEPEST);
    usleep(100000);
    CHECK(threads_of_pool() > 0, "no threads");
    used = now(CLOCK_PROCESS_CPUTIME_ID);
    usleep(300000);
    used = now(CLOCK_PROCESS_CPUTIME_ID) - used;
    CHECK(used < 0.003, "idle threads work for %g s of 0.3", used);
    used = now(CLOCK_MONOTONIC);
    fastbp_region((int64_t)(intptr_t)slow_task, (int64_t)(intptr_t)&begun, 8, 8);
    used = now(CLOCK_MONOTONIC) - used;
    CHECK(begun == 8 && used < 0.3, "8 pieces of 0.05 s take 8 threads %g s", used);
}

/* The pool's only thread. */
static pid_t helper(void) {
    DIR *folder = opendir("/proc/self/task");
    char path[64], name[16] = "";
    pid_t found = 0;
    CHECK(folder, "no /proc");
    for (struct dirent *entry; (entry = readdir(folder));) {
        FILE *file;
        snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", entry->d_name);
        if (!(file = fopen(path, "r"))) continue;
        if (fgets(name, sizeof name, file) && !strcmp(name, "fastbp\n")) found = atoi(entry->d_name);
        fclose(file);
    }
    closedir(folder);
    CHECK(found, "no helper");
    return found;
}

struct shared {
    atomic_int begun;
    cpu_set_t cores; /* where the helper may run while it works */
};

static void shared_task(int64_t arguments, int64_t piece) {
    struct shared *shared = (struct shared *)(intptr_t)arguments;
    if (gettid() == helper()) sched_getaffinity(0, sizeof shared->cores, &shared->cores);
    slow_task((int64_t)(intptr_t)&shared->begun, piece);
}

/* Open a region on a core, with a helper; return where that may run asleep, and where it might in the region. */
static cpu_set_t cores_asleep(int core, cpu_set_t *at_work) {
    struct shared shared = {0};
    cpu_set_t found;
    CPU_ZERO(&found);
    CPU_SET(core, &found);
    CHECK(!sched_setaffinity(0, sizeof found, &found), "not on core %d", core);
    for (int i = 0; i < 10 && !CPU_COUNT(&shared.cores); i++) /* a helper may wait for a core that others have */
        fastbp_region((int64_t)(intptr_t)shared_task, (int64_t)(intptr_t)&shared, 2, 2);
    CHECK(CPU_COUNT(&shared.cores), "nobody helped");
    usleep(100000);
    sched_getaffinity(helper(), sizeof found, &found);
    *at_work = shared.cores;
    return found;
}

static void *cores(void *unused) {
    cpu_set_t all, at_work, asleep, others;
    (void)unused;
    sched_getaffinity(0, sizeof all, &all);
    if (CPU_COUNT(&all) < 2) return NULL;
    fastbp_region((int64_t)(intptr_t)slow_task, (int64_t)(intptr_t) & (atomic_int){0}, 2, 2);
    for (int core = 0; core < CPU_SETSIZE; core++) {
        if (!CPU_ISSET(core, &all)) continue;
        asleep = cores_asleep(core, &at_work);
        others = all;
        CPU_CLR(core, &others);
        CHECK(CPU_EQUAL(&at_work, &all), "a helper keeps to %d of %d cores", CPU_COUNT(&at_work), CPU_COUNT(&all));
        CHECK(CPU_EQUAL(&asleep, &others), "a sleeper may be woken on %d cores", CPU_COUNT(&asleep));
        /* As os.sched_setaffinity does in the first thread: elsewhere than where the helper sleeps, there, and back */
        CPU_XOR(&asleep, &all, &others);
        for (int i = 0; i < 2; i++) {
            CHECK(!sched_setaffinity(getpid(), sizeof asleep, i ? &others : &asleep), "no first thread");
            cores_asleep(core, &at_work);
        }
        CHECK(!sched_setaffinity(getpid(), sizeof all, &all), "no first thread");
        cores_asleep(core, &at_work);
        CHECK(CPU_EQUAL(&at_work, &all), "a helper has lost %d cores", CPU_COUNT(&all) - CPU_COUNT(&at_work));
    }
    /* As `taskset --all-tasks` does, to where it sleeps already */
    CHECK(!sched_setaffinity(getpid(), sizeof others, &others), "no first thread");
    CHECK(!sched_setaffinity(helper(), sizeof others, &others), "no helper");
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &others)) {
            cores_asleep(core, &at_work);
            CHECK(CPU_EQUAL(&at_work, &others), "a helper leaves the %d cores that it was given", CPU_COUNT(&others));
        }
    return NULL;
}

static void wide(void) {
    open_region(100, 40, 1, DEEPEST);
    CHECK(threads_of_pool() == 39, "%d helpers of 40 threads", threads_of_pool());
    for (int i = 0; i < 2000; i++) open_region(30, 2 + i % 3, 1, DEEPEST);
    CHECK(threads_of_pool() == 39, "%d helpers after it", threads_of_pool());
}

static void handler(int number) {
    (void)number;
    fail(__LINE__, "a thread of the pool takes a signal");
}

static void signals(void) {
    sigset_t set;
    open_region(100, 8, 1, DEEPEST);
    CHECK(threads_of_pool() > 0, "no threads");
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    signal(SIGUSR1, handler);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR1);
    for (int i = 0; i < 1000; i++) open_region(20, 8, 1, DEEPEST);
    usleep(50000);
}

static void deep_task(int64_t arguments, int64_t piece) {
    volatile char block[STACK];
    for (size_t i = 0; i < sizeof block; i += 512) block[i] = (char)piece;
    for (int i = 0; i < arguments; i++) block[0] = block[512];
}

static void *deep(void *unused) {
    (void)unused;
    for (int i = 0; i < 50; i++) fastbp_region((int64_t)(intptr_t)deep_task, 100000, 16, 4);
    CHECK(threads_of_pool() > 1, "no threads");
    return NULL;
}

static void *without_end(void *unused) {
    uint64_t state = 1;
    (void)unused;
    for (;;) open_regions(&state, 0, 1);
    return NULL;
}

static void at_exit(void) {
    pthread_t thread;
    for (int i = 0; i < 3; i++) CHECK(!pthread_create(&thread, NULL, without_end, NULL), "no thread");
    usleep(20000);
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    CHECK(!fastbp_pool_init() && !fastbp_pool_init(), "no pool");
    if (!strcmp(what, "regions") && count == 5) {
        forks_in_a_thousand = (uint32_t)atoi(words[4]);
        regions(atof(words[2]), (uintptr_t)atoi(words[3]));
    } else if (!strcmp(what, "alone")) alone();
    else if (!strcmp(what, "idle")) idle();
    else if (!strcmp(what, "signals")) signals();
    else if (!strcmp(what, "stack")) in_thread(deep, NULL, 4 * STACK);
    else if (!strcmp(what, "cores")) in_thread(cores, NULL, 4 * STACK);
    else if (!strcmp(what, "wide")) wide();
    else if (!strcmp(what, "exit")) at_exit();
    else fail(__LINE__, "see the top of pool.c");
    return 0;
}
