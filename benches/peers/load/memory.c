// What memory alone takes of pixels on their way into f32 batches: samples of a mapped file are read in some order, and four times their bytes are written,
// past the caches, into batches in turn. No arithmetic. Built and called by with_memory.py.
#include <immintrin.h>
#include <pthread.h>

struct work {
    const unsigned char *file;
    const long *order;
    long count, bytes, batch, ring;
    char *batches;
    long next;
    long long sum;
};

static void *worker(void *argument) {
    struct work *work = argument;
    __m128i sum = _mm_setzero_si128();
    for (;;) {
        long i = __atomic_fetch_add(&work->next, 1, __ATOMIC_RELAXED);
        if (i >= work->count) break;
        const unsigned char *from = work->file + work->order[i] * work->bytes;
        char *to = work->batches + ((i / work->batch) % work->ring * work->batch + i % work->batch) * work->bytes * 4;
        for (long k = 0; k < work->bytes; k += 32) {
            // As the faster of the loops that were tried has it.
            _mm_prefetch((const char *)from + k + 1024, _MM_HINT_T0);
            __m128i a = _mm_loadu_si128((const __m128i *)(from + k)), b = _mm_loadu_si128((const __m128i *)(from + k + 16));
            sum = _mm_add_epi64(sum, _mm_add_epi64(a, b));
            for (int j = 0; j < 128; j += 16) _mm_stream_si128((__m128i *)(to + 4 * k + j), a);
        }
        _mm_sfence();
    }
    __atomic_fetch_add(&work->sum, _mm_cvtsi128_si64(sum), __ATOMIC_RELAXED);
    return 0;
}

// One epoch on so many threads, 8 at the most. `bytes` of a sample are a multiple of 32, and `batches` are aligned to 16 bytes. Returns what keeps the reads from being left out.
long long epoch(const unsigned char *file, const long *order, long count, long bytes, long batch, long ring, char *batches, int threads) {
    struct work work = {file, order, count, bytes, batch, ring, batches, 0, 0};
    pthread_t started[8];
    for (int i = 0; i < threads; i++) pthread_create(&started[i], 0, worker, &work);
    for (int i = 0; i < threads; i++) pthread_join(started[i], 0);
    return work.sum;
}
