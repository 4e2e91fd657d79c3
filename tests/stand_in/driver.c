// A stand-in for NVIDIA's driver, libcuda.so.1: the host's memory plays the GPU's.
//
// Work is queued, and done when somebody waits or asks, in a random order between streams that events
// allow. What a real driver would let pass, or answer by a crash, is a violation here: it is counted
// and told on stderr. `stand_in_*` are for tests. Functions have their plain names: cuda.h adds versions.
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef void (*Work)(void *);
typedef enum { DEVICE, PINNED, STREAM, EVENT, KINDS } Kind;
typedef struct block { uintptr_t start; size_t size; Kind kind; long number; struct block *next; } Block;
typedef enum { COPY, RECORD, WAIT, FILL, WORK } Deed;
typedef struct op {
    Deed deed; uintptr_t to, from; size_t size; long to_block, from_block; int byte;
    CUevent event; long turn; Work work; void *argument; struct op *next;
} Op;
struct CUctx_st { int device, retained; };
struct CUstream_st { CUcontext of; Op *first, *last; int busy, alive; CUstream next; };
struct CUevent_st { long recorded, done; double time; int alive; };
typedef struct counter { const char *name; long count; struct counter *next; } Counter;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static struct CUctx_st contexts[4] = {{0, 0}, {1, 0}, {2, 0}, {3, 0}};
static __thread CUcontext current[64];
static __thread int depth;
static Block *blocks;
static CUstream streams;
static Counter *counters;
static long made, violations, held[KINDS], most, capacity = 16L << 30;
static long fail_in, fail_code, sticky, calls;
static pid_t owner;
static uint64_t state = 88172645463325252u;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static unsigned chance(unsigned below) {
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return state % below;
}

static CUresult violation(const char *what, CUresult result) {
    violations++;
    fprintf(stderr, "stand-in driver: %s\n", what);
    return result;
}

// Counts a call; returns the error that a test wants of it, and what every driver answers after a fork.
// Contexts are pushed and popped also where all else fails.
static CUresult enter(Counter *counter) {
    if (owner && owner != getpid()) return CUDA_ERROR_NOT_INITIALIZED;
    pthread_mutex_lock(&lock);
    if (!counter->count++) { counter->next = counters; counters = counter; }
    CUresult result = 0;
    if (!strstr(counter->name, "CtxP")) {
        calls++;
        if (fail_in && !--fail_in) { result = fail_code; sticky = fail_code >= CUDA_ERROR_ILLEGAL_ADDRESS; }
        if (sticky) result = fail_code;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

#define COUNTED(name) static Counter counter_ = {#name}; CUresult failed_ = enter(&counter_)
#define CALL(name) COUNTED(name); if (failed_) return failed_
#define IN_CONTEXT(name) CALL(name); if (!depth) return violation(#name " without a context", CUDA_ERROR_INVALID_CONTEXT)
// What gives back does so also where it fails, so that leaks are told from errors.
#define GIVING_BACK(name) COUNTED(name); if (failed_ == CUDA_ERROR_NOT_INITIALIZED) return failed_; \
    if (!depth) return violation(#name " without a context", CUDA_ERROR_INVALID_CONTEXT)
#define ON_STREAM(name, stream) IN_CONTEXT(name); \
    if (!stream || !stream->alive) return violation(#name " on a stream that is gone", CUDA_ERROR_INVALID_HANDLE); \
    if (stream->of != current[depth - 1]) return violation(#name " on a stream of another context", CUDA_ERROR_INVALID_HANDLE)

static long find(uintptr_t start, size_t size, Kind kind) {
    long number = 0;
    pthread_mutex_lock(&lock);
    for (Block *b = blocks; b && !number; b = b->next)
        if (b->kind == kind && start >= b->start && start + size <= b->start + b->size) number = b->number;
    pthread_mutex_unlock(&lock);
    return number;
}

static int alive(long number) {
    for (Block *b = blocks; b; b = b->next) if (b->number == number) return 1;
    return 0;
}

static CUresult take(void **pointer, size_t size, Kind kind) {
    if (!size) return violation("no bytes are asked for", CUDA_ERROR_INVALID_VALUE);
    pthread_mutex_lock(&lock);
    int full = kind == DEVICE && held[DEVICE] + (long)size > capacity;
    pthread_mutex_unlock(&lock);
    if (full || posix_memalign(pointer, kind == DEVICE ? 512 : 4096, size)) return CUDA_ERROR_OUT_OF_MEMORY;
    memset(*pointer, 0xff, size);  // as float32 not a number
    Block *b = malloc(sizeof *b);
    pthread_mutex_lock(&lock);
    *b = (Block){(uintptr_t)*pointer, size, kind, ++made, blocks};
    blocks = b;
    held[kind] += size;
    if (kind == DEVICE && held[DEVICE] > most) most = held[DEVICE];
    pthread_mutex_unlock(&lock);
    return 0;
}

static CUresult give_back(void *pointer, Kind kind) {
    pthread_mutex_lock(&lock);
    Block **place = &blocks;
    while (*place && ((*place)->start != (uintptr_t)pointer || (*place)->kind != kind)) place = &(*place)->next;
    Block *found = *place;
    if (found) { *place = found->next; held[kind] -= found->size; memset(pointer, 0xff, found->size); }
    pthread_mutex_unlock(&lock);
    if (!found) return violation("memory is freed that is not held", CUDA_ERROR_INVALID_VALUE);
    free(pointer);
    free(found);
    return 0;
}

static int ready(CUstream s) {
    return s->first && !s->busy && !(s->first->deed == WAIT && s->first->event->done < s->first->turn);
}

// Do one piece of work of any stream that has some; called and left with the lock held.
static int step(void) {
    int count = 0;
    for (CUstream s = streams; s; s = s->next) count += ready(s);
    if (!count) return 0;
    int skip = chance(count);
    CUstream s = streams;
    for (; !ready(s) || skip--; s = s->next);
    Op *op = s->first;
    s->first = op->next;
    s->busy = 1;
    if (op->deed == RECORD) { op->event->time = now(); op->event->done = op->turn; }
    int there = alive(op->to_block) && (op->deed == FILL || alive(op->from_block));
    if ((op->deed == COPY || op->deed == FILL) && !there) violation("memory was freed before its copy was done", 0);
    else if (op->deed == COPY) memcpy((void *)op->to, (void *)op->from, op->size);
    else if (op->deed == FILL) memset((void *)op->to, op->byte, op->size);
    else if (op->deed == WORK) {  // Python's: it may wait for other threads
        pthread_mutex_unlock(&lock);
        op->work(op->argument);
        pthread_mutex_lock(&lock);
    }
    s->busy = 0;
    free(op);
    pthread_cond_broadcast(&moved);
    return 1;
}

static CUresult wait_for(CUstream s, CUevent e) {
    CUresult result = 0;
    pthread_mutex_lock(&lock);
    while (s ? s->first || s->busy : e->done < e->recorded) {
        if (step()) continue;
        int busy = 0;
        for (CUstream one = streams; one; one = one->next) busy += one->busy;
        if (!busy) { result = violation("this wait would never end", CUDA_ERROR_UNKNOWN); break; }
        pthread_cond_wait(&moved, &lock);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static CUresult queue(CUstream s, Op given) {
    Op *op = malloc(sizeof *op);
    *op = given;
    pthread_mutex_lock(&lock);
    if (s->first) s->last->next = op; else s->first = op;
    s->last = op;
    pthread_mutex_unlock(&lock);
    return 0;
}

static CUresult queue_copy(CUstream s, uintptr_t to, Kind to_kind, uintptr_t from, Kind from_kind, size_t size) {
    long to_block = find(to, size, to_kind), from_block = find(from, size, from_kind);
    if (!to_block) return violation("a copy to memory that is not held or not pinned", CUDA_ERROR_INVALID_VALUE);
    if (!from_block) return violation("a copy of memory that is not held or not pinned", CUDA_ERROR_INVALID_VALUE);
    return queue(s, (Op){.deed = COPY, .to = to, .from = from, .size = size, .to_block = to_block, .from_block = from_block});
}

CUresult cuInit(unsigned flags) { CALL(cuInit); owner = getpid(); const char *seed = getenv("STAND_IN_SEED"); if (seed) state ^= atol(seed); return 0; }
CUresult cuDriverGetVersion(int *version) { *version = CUDA_VERSION / 1000 * 1000; return 0; }
CUresult cuDeviceGetCount(int *count) { CALL(cuDeviceGetCount); const char *set = getenv("STAND_IN_GPUS"); *count = set ? atoi(set) : 1; return 0; }
CUresult cuDeviceGet(CUdevice *device, int number) { CALL(cuDeviceGet); *device = number; return number < 0 || number > 3 ? CUDA_ERROR_INVALID_DEVICE : 0; }
CUresult cuDeviceGetName(char *name, int size, CUdevice device) { CALL(cuDeviceGetName); snprintf(name, size, device ? "Stand-in GPU %d" : "Stand-in GPU", device); return 0; }
CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device) { CALL(cuDeviceTotalMem); *bytes = capacity; return 0; }
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    CALL(cuDeviceGetAttribute);
    *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? 8 : attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? 9 : 1;
    return 0;
}
CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) { CALL(cuDeviceComputeCapability); *major = 8; *minor = 9; return 0; }
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) { CALL(cuDevicePrimaryCtxRetain); *context = &contexts[device]; contexts[device].retained++; return 0; }
CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
    COUNTED(cuDevicePrimaryCtxRelease);
    if (!failed_ && contexts[device].retained < 1) return violation("a context is released that nobody holds", CUDA_ERROR_INVALID_CONTEXT);
    if (failed_ != CUDA_ERROR_NOT_INITIALIZED && !--contexts[device].retained && held[DEVICE]) violation("the context goes before its memory", 0);
    return failed_;
}
CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned flags) { CALL(cuDevicePrimaryCtxSetFlags); return 0; }
CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) { CALL(cuDevicePrimaryCtxGetState); *flags = 0; *active = contexts[device].retained > 0; return 0; }
CUresult cuCtxDetach(CUcontext context) { COUNTED(cuCtxDetach); (void)failed_; return violation("cuCtxDetach of a primary context", CUDA_ERROR_INVALID_CONTEXT); }
CUresult cuCtxPushCurrent(CUcontext context) { CALL(cuCtxPushCurrent); if (depth == 64) return violation("64 contexts are pushed", CUDA_ERROR_INVALID_VALUE); if (!context->retained) return violation("a context is pushed that was released", CUDA_ERROR_INVALID_CONTEXT); current[depth++] = context; return 0; }
CUresult cuCtxPopCurrent(CUcontext *context) {
    CALL(cuCtxPopCurrent);
    if (!depth) return violation("a context is popped that was not pushed", CUDA_ERROR_INVALID_CONTEXT);
    CUcontext top = current[--depth];
    if (context) *context = top;
    return 0;
}
CUresult cuCtxSetCurrent(CUcontext context) { CALL(cuCtxSetCurrent); if (!depth) depth = 1; current[depth - 1] = context; if (!context) depth--; return 0; }
CUresult cuCtxGetCurrent(CUcontext *context) { CALL(cuCtxGetCurrent); *context = depth ? current[depth - 1] : NULL; return 0; }
CUresult stand_in_cuCtxGetDevice(CUdevice *device) __asm__("cuCtxGetDevice");
CUresult stand_in_cuCtxGetDevice(CUdevice *device) { IN_CONTEXT(cuCtxGetDevice); *device = current[depth - 1]->device; return 0; }
CUresult cuMemGetInfo(size_t *free_bytes, size_t *total) { IN_CONTEXT(cuMemGetInfo); *free_bytes = capacity - held[DEVICE]; *total = capacity; return 0; }
CUresult cuMemAlloc(CUdeviceptr *pointer, size_t size) { IN_CONTEXT(cuMemAlloc); return take((void **)pointer, size, DEVICE); }
CUresult cuMemFree(CUdeviceptr pointer) { GIVING_BACK(cuMemFree); CUresult result = give_back((void *)pointer, DEVICE); return failed_ ? failed_ : result; }
CUresult cuMemHostAlloc(void **pointer, size_t size, unsigned flags) { IN_CONTEXT(cuMemHostAlloc); return take(pointer, size, PINNED); }
CUresult cuMemFreeHost(void *pointer) { GIVING_BACK(cuMemFreeHost); CUresult result = give_back(pointer, PINNED); return failed_ ? failed_ : result; }
CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
    IN_CONTEXT(cuStreamCreate);
    CUstream s = calloc(1, sizeof *s);
    s->of = current[depth - 1];
    s->alive = 1;
    pthread_mutex_lock(&lock);
    s->next = streams;
    streams = *stream = s;
    held[STREAM]++;
    pthread_mutex_unlock(&lock);
    return 0;
}
CUresult cuStreamDestroy(CUstream s) {
    GIVING_BACK(cuStreamDestroy);
    if (!s->alive) return violation("a stream is destroyed twice", CUDA_ERROR_INVALID_HANDLE);
    if (!failed_ && (s->first || s->busy)) violation("a stream is destroyed with work in it", 0);
    pthread_mutex_lock(&lock);
    s->alive = 0;
    held[STREAM]--;
    pthread_mutex_unlock(&lock);
    return failed_;
}
CUresult cuStreamSynchronize(CUstream s) { ON_STREAM(cuStreamSynchronize, s); return wait_for(s, NULL); }
CUresult cuStreamWaitEvent(CUstream s, CUevent e, unsigned flags) { ON_STREAM(cuStreamWaitEvent, s); return queue(s, (Op){.deed = WAIT, .event = e, .turn = e->recorded}); }
CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t size, CUstream s) { ON_STREAM(cuMemcpyHtoDAsync, s); return queue_copy(s, to, DEVICE, (uintptr_t)from, PINNED, size); }
CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t size, CUstream s) { ON_STREAM(cuMemcpyDtoHAsync, s); return queue_copy(s, (uintptr_t)to, PINNED, from, DEVICE, size); }
CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream s) { ON_STREAM(cuMemcpyDtoDAsync, s); return queue_copy(s, to, DEVICE, from, DEVICE, size); }
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char byte, size_t size, CUstream s) {
    ON_STREAM(cuMemsetD8Async, s);
    long block = find(to, size, DEVICE);
    return block ? queue(s, (Op){.deed = FILL, .to = to, .size = size, .to_block = block, .byte = byte}) : violation("memory is filled that is not held", CUDA_ERROR_INVALID_VALUE);
}
CUresult cuEventCreate(CUevent *event, unsigned flags) { IN_CONTEXT(cuEventCreate); *event = calloc(1, sizeof **event); (*event)->alive = 1; pthread_mutex_lock(&lock); held[EVENT]++; pthread_mutex_unlock(&lock); return 0; }
CUresult cuEventDestroy(CUevent e) {
    GIVING_BACK(cuEventDestroy);
    if (!e->alive) return violation("an event is destroyed twice", CUDA_ERROR_INVALID_HANDLE);
    pthread_mutex_lock(&lock);
    e->alive = 0;
    held[EVENT]--;
    pthread_mutex_unlock(&lock);
    return failed_;
}
CUresult cuEventRecord(CUevent e, CUstream s) { ON_STREAM(cuEventRecord, s); return queue(s, (Op){.deed = RECORD, .event = e, .turn = ++e->recorded}); }
CUresult cuEventQuery(CUevent e) {
    CALL(cuEventQuery);
    if (!e->alive) return violation("an event is asked that is gone", CUDA_ERROR_INVALID_HANDLE);
    pthread_mutex_lock(&lock);
    if (e->done < e->recorded && chance(2)) step();
    int done = e->done >= e->recorded;
    pthread_mutex_unlock(&lock);
    return done ? 0 : CUDA_ERROR_NOT_READY;
}
CUresult cuEventSynchronize(CUevent e) { IN_CONTEXT(cuEventSynchronize); return wait_for(NULL, e); }
static CUresult elapsed(float *milliseconds, CUevent a, CUevent b) {
    IN_CONTEXT(cuEventElapsedTime);
    if (!a->alive || !b->alive) return violation("time between events that are gone", CUDA_ERROR_INVALID_HANDLE);
    if (a->done < a->recorded || b->done < b->recorded) return CUDA_ERROR_NOT_READY;
    *milliseconds = b->time - a->time;
    return 0;
}
#undef cuEventElapsedTime
CUresult cuEventElapsedTime(float *milliseconds, CUevent a, CUevent b) { return elapsed(milliseconds, a, b); }
CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent a, CUevent b) { return elapsed(milliseconds, a, b); }
CUresult cuGetErrorName(CUresult result, const char **text) { *text = result == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_STAND_IN"; return 0; }
CUresult cuGetErrorString(CUresult result, const char **text) { *text = result == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory" : "an error that a test asked for"; return 0; }
#undef cuGetProcAddress
CUresult cuGetProcAddress(const char *name, void **function, int version, cuuint64_t flags) {
    const char *endings[] = {"_v4", "_v3", "_v2", ""};
    char full[128];
    *function = NULL;
    for (int k = 0; k < 4 && !*function; k++) {
        Dl_info of, own;
        snprintf(full, sizeof full, "%s%s", name, endings[k]);
        void *found = dlsym(RTLD_DEFAULT, full);
        if (found && dladdr(found, &of) && dladdr((void *)queue_copy, &own) && of.dli_fbase == own.dli_fbase) *function = found;
    }
    return *function ? 0 : CUDA_ERROR_NOT_FOUND;
}
CUresult cuGetProcAddress_v2(const char *name, void **function, int version, cuuint64_t flags, CUdriverProcAddressQueryResult *how) {
    CUresult result = cuGetProcAddress(name, function, version, flags);
    if (how) *how = result ? CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND : CU_GET_PROC_ADDRESS_SUCCESS;
    return 0;
}

// What pycuda is linked to and no test has needed.
int stand_in_missing(const char *name) { return violation(name, CUDA_ERROR_NOT_SUPPORTED); }

int stand_in_queue(CUstream s, Work work, void *argument) { return queue(s, (Op){.deed = WORK, .work = work, .argument = argument}); }
long stand_in_block(uintptr_t address, size_t size) { return find(address, size, DEVICE); }
int stand_in_alive(long block) { pthread_mutex_lock(&lock); int found = alive(block); pthread_mutex_unlock(&lock); return found; }
int stand_in_runs_on(CUstream s) { return depth && s && s->alive && s->of == current[depth - 1]; }
int stand_in_depth(void) { return depth; }
long stand_in_count(const char *name) {
    size_t length = strlen(name);
    for (Counter *c = counters; c; c = c->next)
        if (!strncmp(c->name, name, length) && (!c->name[length] || !strncmp(c->name + length, "_v", 2))) return c->count;
    return 0;
}
long stand_in_calls(void) { return calls; }
long stand_in_held(int kind) { return held[kind]; }
long stand_in_most(void) { return most; }
long stand_in_violations(void) { return violations; }
void stand_in_capacity(long bytes) { capacity = bytes; }
// The call that comes `in` calls from now fails; so do all after it, for errors that a context does not survive.
void stand_in_fail(long in, long code) { pthread_mutex_lock(&lock); fail_in = in; fail_code = code; sticky = 0; pthread_mutex_unlock(&lock); }

__attribute__((destructor)) static void end(void) {
    if (owner != getpid()) return;
    const char *names[] = {"bytes of the GPU's memory", "bytes of pinned memory", "streams", "events"};
    for (int kind = 0; kind < KINDS; kind++)
        if (held[kind]) fprintf(stderr, "stand-in driver: %ld %s were not given back\n", held[kind], names[kind]);
    for (int device = 0; device < 4; device++)
        if (contexts[device].retained) fprintf(stderr, "stand-in driver: a context was not released\n");
}
