/* The threads that kernels share their work with. */
#ifndef FASTBP_POOL_H
#define FASTBP_POOL_H

#include <stdint.h>

/* Once, before the first region. Returns 0, or an error number. */
__attribute__((visibility("hidden"))) int fastbp_pool_init(void);

/* Call the function at `task`, void (*)(int64_t arguments, int64_t piece), for each piece of 0 .. pieces - 1 once, on
   the calling thread and at most threads - 1 others; return when all are done. Any thread may call it at any time, a
   task too. */
__attribute__((visibility("hidden"))) void fastbp_region(int64_t task, int64_t arguments, int64_t pieces,
                                                         int64_t threads);

#endif
