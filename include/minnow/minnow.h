/* minnow: small language models on the CPUs people already have. C99.
 *
 * Three kinds of objects, all opaque:
 *   minnow_engine   threads and the kernels this machine runs. Usually one a process.
 *   minnow_model    a .mnw file, mapped. Immutable: any number of threads and sessions share it.
 *   minnow_session  one sequence: its tokens and their KV cache. One thread at a time; a second thread
 *                   that enters meanwhile gets MINNOW_BUSY, never a race.
 *
 * In the smallest use:
 *     minnow_engine *engine;   minnow_engine_create(NULL, &engine);
 *     minnow_model *model;     minnow_model_load(engine, "model.mnw", &model);
 *     minnow_session *session; minnow_session_create(model, NULL, &session);
 *     minnow_generate_text(session, "Once upon a time", NULL, on_text, NULL, NULL);
 *     ... and _destroy() in the opposite order.
 *
 * Conventions
 *   Errors      Every fallible call returns a minnow_status; results come through the last pointers,
 *               which are written only on success. After a failure minnow_last_error() says what was
 *               wrong, where, and what to do.
 *   Structs     Parameter structs begin with struct_size: fill them with their minnow_*_default()
 *               function, then change fields. A NULL parameter struct means the defaults. An option
 *               that minnow cannot honour is an error, never silently ignored.
 *   Ownership   create/load calls give an object to the caller, who gives it back to the matching
 *               _destroy(), which accepts NULL. A model keeps its engine alive, a session its model.
 *               Strings and arrays handed out belong to minnow; each function says how long they live.
 *   Threads     Engines and models may be used by all threads at once. minnow_session_cancel() may be
 *               called by any thread; every other session call by one thread at a time.
 *   Manners     The library never prints, never exits, never aborts and lets no exception through. It
 *               installs no signal handlers, but for one: see kv_budget.
 *   Text        is UTF-8. Text handed out always ends at a whole character.
 */
#ifndef MINNOW_MINNOW_H_
#define MINNOW_MINNOW_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define MINNOW_API
#else
#define MINNOW_API __attribute__((visibility("default")))
#endif

#define MINNOW_VERSION_MAJOR 0
#define MINNOW_VERSION_MINOR 1
#define MINNOW_VERSION_PATCH 0
#define MINNOW_VERSION "0.1.0"

/* ---- status ------------------------------------------------------------------------------------ */

/* Values never change; new ones are appended. */
typedef enum minnow_status {
  MINNOW_OK = 0,
  MINNOW_INVALID_ARGUMENT = 1, /* NULL, out of range, or contradictory */
  MINNOW_NOT_FOUND = 2,        /* no such file or name */
  MINNOW_IO = 3,               /* the operating system refused */
  MINNOW_CORRUPT = 4,          /* the file contradicts itself or its checksums */
  MINNOW_UNSUPPORTED = 5,      /* well-formed, but this version does not do it */
  MINNOW_NO_MEMORY = 6,
  MINNOW_CANCELLED = 7,
  MINNOW_BUSY = 8,         /* another thread is inside this session */
  MINNOW_CONTEXT_FULL = 9, /* the tokens do not fit into the context */
  MINNOW_BAD_STATE = 10,   /* the call does not fit the object's state */
  MINNOW_INTERNAL = 11     /* a bug in minnow: please report it */
} minnow_status;

/* Name of a status, "MINNOW_OK" and so on. Static storage. */
MINNOW_API const char* minnow_status_name(minnow_status status);

/* Message of the last failure on the calling thread, "" if there was none. Valid until the next minnow
 * call on the same thread. */
MINNOW_API const char* minnow_last_error(void);

/* "0.1.0". Static storage. */
MINNOW_API const char* minnow_version(void);

/* ---- engine ------------------------------------------------------------------------------------ */

typedef struct minnow_engine minnow_engine;

typedef struct minnow_engine_params {
  size_t struct_size;
  uint32_t threads; /* 0: the performance cores this process may use */
  const char* isa;  /* NULL: environment MINNOW_ISA, else the best this machine has; a level's name
                       ("scalar", "avx2", "avxvnni", "avx512vnni", "neon", ...) forces a lower one */
} minnow_engine_params;

MINNOW_API minnow_engine_params minnow_engine_params_default(void);
MINNOW_API minnow_status minnow_engine_create(const minnow_engine_params* params, minnow_engine** out);
/* Ends once the last model made with it is destroyed. NULL is allowed. */
MINNOW_API void minnow_engine_destroy(minnow_engine* engine);
MINNOW_API uint32_t minnow_engine_threads(const minnow_engine* engine);
/* Name of the instruction-set level in use. Static storage. */
MINNOW_API const char* minnow_engine_isa(const minnow_engine* engine);
/* Name of the processor. Lives as long as the engine. */
MINNOW_API const char* minnow_engine_cpu(const minnow_engine* engine);
/* Measures how fast this engine's threads can stream memory: the best of `passes` passes over `bytes`
 * (at least 64 MiB) with the widest loads, in bytes a second. Takes and gives back that much memory. */
MINNOW_API minnow_status minnow_engine_read_wall(minnow_engine* engine, uint64_t bytes, uint32_t passes,
                                                 double* bytes_per_second);

/* ---- model ------------------------------------------------------------------------------------- */

typedef struct minnow_model minnow_model;

/* Maps a file. Loading checks everything small and reads no weights. The file must not change while
 * the model lives: a mapped file that is cut short ends the process with SIGBUS. */
MINNOW_API minnow_status minnow_model_load(minnow_engine* engine, const char* path, minnow_model** out);
/* `length` bytes at `offset` of an open descriptor (an Android asset, say), which stays the caller's and
 * may be closed afterwards. length 0: up to the end. offset must be a multiple of 64. */
MINNOW_API minnow_status minnow_model_load_fd(minnow_engine* engine, int fd, uint64_t offset, uint64_t length,
                                              minnow_model** out);
/* Memory that starts at a multiple of 64 and that the caller keeps unchanged until the model is destroyed. */
MINNOW_API minnow_status minnow_model_load_memory(minnow_engine* engine, const void* data, size_t size,
                                                  minnow_model** out);
/* Ends once the last session made with it is destroyed. NULL is allowed. */
MINNOW_API void minnow_model_destroy(minnow_model* model);

typedef struct minnow_model_info {
  size_t struct_size;
  const char* architecture; /* these three live as long as the model */
  const char* source;
  const char* license;
  uint64_t parameters; /* of the source model */
  uint64_t file_bytes;
  uint64_t bytes_per_token; /* weights that one decode step reads, padding excluded */
  uint32_t vocab_size, hidden_size, layers, heads, kv_heads, head_dim, ffn_size, max_context;
  int32_t bos_id;        /* -1: none */
  int32_t has_tokenizer; /* 0: the model takes token ids only */
} minnow_model_info;

/* Fills as many bytes of *info as info->struct_size says. */
MINNOW_API minnow_status minnow_model_get_info(const minnow_model* model, minnow_model_info* info);
/* 1 if generation ends at this token. */
MINNOW_API int minnow_model_is_eos(const minnow_model* model, int32_t token);

/* Text to token ids. add_special puts the model's own BOS in front where it wants one; parse_special
 * reads "<|...|>" forms in the text as special tokens (never do that with text from strangers).
 * *count is the number of tokens; when it exceeds `capacity` nothing is written and the status is
 * MINNOW_INVALID_ARGUMENT: call again with room (capacity 0 and tokens NULL only counts, and succeeds).
 * Errors: MINNOW_UNSUPPORTED without a tokenizer, MINNOW_INVALID_ARGUMENT for text that is not UTF-8. */
MINNOW_API minnow_status minnow_tokenize(const minnow_model* model, const char* text, size_t length,
                                         int add_special, int parse_special, int32_t* tokens, size_t capacity,
                                         size_t* count);
/* Token ids to text, the same rules for *length and capacity; bytes that form no character become U+FFFD. */
MINNOW_API minnow_status minnow_detokenize(const minnow_model* model, const int32_t* tokens, size_t count,
                                           int skip_special, char* text, size_t capacity, size_t* length);

typedef struct minnow_message {
  const char* role; /* "system", "user" or "assistant" */
  const char* text;
} minnow_message;

/* Name of the model's chat format ("chatml", "llama3", ...), "" if it has none, "unknown" if its
 * template was not recognised. Lives as long as the model. */
MINNOW_API const char* minnow_model_chat_format(const minnow_model* model);
/* The conversation as the model was trained to read it, ending where the assistant is to speak. `format`
 * NULL: the model's own. Tokenise the result with parse_special. Same rules for *length and capacity. */
MINNOW_API minnow_status minnow_chat_render(const minnow_model* model, const char* format,
                                            const minnow_message* messages, size_t count, char* text,
                                            size_t capacity, size_t* length);

/* ---- session ----------------------------------------------------------------------------------- */

typedef struct minnow_session minnow_session;

typedef enum minnow_kv_type { MINNOW_KV_F32 = 0, MINNOW_KV_F16 = 1, MINNOW_KV_Q8 = 2 } minnow_kv_type;

/* What to do with a model's activation thresholds. AUTO uses them where a model has some. */
typedef enum minnow_sparsity {
  MINNOW_SPARSITY_AUTO = 0,
  MINNOW_SPARSITY_ON = 1, /* a model without thresholds is MINNOW_UNSUPPORTED */
  MINNOW_SPARSITY_OFF = 2
} minnow_sparsity;

/* Whether tokens behind a long context attend to all of it, or to the few keys of each head that a model's
 * codebooks find (A2ATS, arXiv 2502.12665). */
typedef enum minnow_retrieval {
  MINNOW_RETRIEVAL_AUTO = 0, /* on where the model has codebooks */
  MINNOW_RETRIEVAL_ON = 1,   /* a model without codebooks is MINNOW_UNSUPPORTED */
  MINNOW_RETRIEVAL_OFF = 2
} minnow_retrieval;

typedef struct minnow_session_params {
  size_t struct_size;
  uint32_t context;       /* tokens the session can hold; for models with two sets of rope frequencies (Phi-3
                             128k) it also chooses between them, for the whole session; 0: the smaller of the
                             model's maximum and 4096 */
  uint32_t prefill_chunk; /* tokens of one forward pass at most; 0: 256 */
  minnow_kv_type kv_type; /* default MINNOW_KV_F16 */
  minnow_sparsity
      sparsity; /* default MINNOW_SPARSITY_AUTO. Tokens that come one at a time leave out what is below
                   the thresholds; several at once run dense, unless sparsity_prompts is set. The first
                   session of a model to do so measures, for some milliseconds, when that saves time */
  float sparsity_scale; /* of all thresholds, at least 0: less keeps more. default 1 */
  int sparsity_prompts; /* leave out in prompts too, which saves nothing: for measuring loss. default 0 */
  minnow_retrieval retrieval; /* default MINNOW_RETRIEVAL_AUTO. Tokens that come one at a time, behind at
                                 least retrieval_from others, attend to the keys of each head that matter
                                 most, to the first 8 and to the last 64 positions exactly, and to the rest
                                 through means; several at once attend to everything. docs/retrieval.md has
                                 what that loses */
  uint32_t retrieval_from;    /* sessions with a smaller context keep no index. default 6144 */
  float retrieval_fraction;   /* of all positions, that each query head takes at most, above 0; how many it
                                 takes depends on what they weigh (docs/retrieval.md). default 0.1 */
  uint32_t retrieval_budget;  /* and no more than so many; 0: no bound. default 1024 */
  uint64_t kv_budget; /* bytes of KV cache and retrieval index that may be kept in memory: the index, and
                         the first layers that fit beside it. All others lie in a file in kv_dir, mapped,
                         which the system writes and reads as it sees fit; the results are the same. A budget
                         below the index is MINNOW_INVALID_ARGUMENT. 0: all in memory (default).
                         The file has no name, its room is reserved when the session is created, and it is
                         gone when the session ends, also by a crash. Each fork has its own. When it cannot be
                         read or written, every call that needs it gives MINNOW_IO: destroy the session. To
                         notice, the first such session of a process installs a handler of SIGBUS, which
                         passes on to the one before it what is not its own, and stays. A forked process must
                         not touch a session with a file */
  const char* kv_dir; /* directory of that file, copied; needed with a budget, refused without. Must lie on a
                         disk: tmpfs is memory, and is MINNOW_INVALID_ARGUMENT. default NULL */
  int retrieval_measure; /* tokens that select also look at all keys, for attended_weight of the stats: as
                            slow as without retrieval. default 0 */
} minnow_session_params;

MINNOW_API minnow_session_params minnow_session_params_default(void);

/* What a session would take, before anything is loaded but the metadata. All in bytes. */
typedef struct minnow_plan_report {
  size_t struct_size;
  uint64_t weights;  /* the file, mapped: shared by all sessions, given back under pressure */
  uint64_t kv_cache; /* when full, the retrieval index counted; pages not yet written take none */
  uint64_t workspace;
  uint64_t total;             /* of the three, but for kv_file */
  uint32_t context;           /* that the figures are for */
  uint32_t context_that_fits; /* largest context within `budget`; 0: none, or no budget given. With a
                                 kv_budget, KV counts as that much at most */
  uint64_t kv_file;           /* of kv_cache, what lies in the file of kv_dir */
} minnow_plan_report;

/* Reads the metadata of a file only. budget 0: none. */
MINNOW_API minnow_status minnow_plan(minnow_engine* engine, const char* path,
                                     const minnow_session_params* params, uint64_t budget,
                                     minnow_plan_report* report);

MINNOW_API minnow_status minnow_session_create(minnow_model* model, const minnow_session_params* params,
                                               minnow_session** out);
/* A new session with the same parameters and the same sequence so far: prefill a prefix once, continue it
 * often. */
MINNOW_API minnow_status minnow_session_fork(const minnow_session* session, minnow_session** out);
MINNOW_API void minnow_session_destroy(minnow_session* session);

/* Called during long work with the share done, 0 to 1; a return of 0 cancels. Runs on the calling thread. */
typedef int (*minnow_progress_fn)(void* user, float done);

/* Appends tokens to the sequence. Errors: MINNOW_CONTEXT_FULL, MINNOW_CANCELLED (the sequence then ends
 * at the last completed chunk; see minnow_session_position). */
MINNOW_API minnow_status minnow_prefill(minnow_session* session, const int32_t* tokens, size_t count,
                                        minnow_progress_fn progress, void* user);
/* Appends one token. The same as minnow_prefill of one. */
MINNOW_API minnow_status minnow_decode(minnow_session* session, int32_t token);
/* Logits behind the last token, [vocab_size]; valid until the session's next call. */
MINNOW_API minnow_status minnow_logits(const minnow_session* session, const float** logits, size_t* count);
/* Appends tokens and gives the natural logarithm of the probability the model had for each of them:
 * log_probs[i] for tokens[i], given everything before it. log_probs[0] is NaN when the sequence was empty. */
MINNOW_API minnow_status minnow_score(minnow_session* session, const int32_t* tokens, size_t count,
                                      float* log_probs);
/* Called with the logits [vocab] behind each token; valid during the call. Not 0 stops with MINNOW_CANCELLED.
 */
typedef int (*minnow_logits_fn)(void* user, size_t index, const float* logits, size_t vocab);
/* Appends tokens and hands out the logits behind every one of them. */
MINNOW_API minnow_status minnow_prefill_logits(minnow_session* session, const int32_t* tokens, size_t count,
                                               minnow_logits_fn on_logits, void* user);

/* Tokens in the sequence, and the most it can hold. */
MINNOW_API uint32_t minnow_session_position(const minnow_session* session);
MINNOW_API uint32_t minnow_session_context(const minnow_session* session);
/* Retrieval on or off for the tokens to come. MINNOW_UNSUPPORTED where the session keeps no index: it was
 * created with MINNOW_RETRIEVAL_OFF, the model has no codebooks, or its context is at most retrieval_from. */
MINNOW_API minnow_status minnow_session_set_retrieval(minnow_session* session, int on);
/* Forgets everything from `position` on; beyond the end is an error. */
MINNOW_API minnow_status minnow_session_rewind(minnow_session* session, uint32_t position);
/* Ends the running call of this session with MINNOW_CANCELLED within one layer. Any thread; does nothing when
 * none runs. */
MINNOW_API void minnow_session_cancel(minnow_session* session);

/* ---- generation -------------------------------------------------------------------------------- */

typedef struct minnow_logit_bias {
  int32_t token;
  float bias; /* added to the token's logit; -INFINITY bans it */
} minnow_logit_bias;

typedef struct minnow_generate_params {
  size_t struct_size;
  uint32_t max_tokens;      /* default 128 */
  float temperature;        /* 0: greedy. default 0.8 */
  uint32_t top_k;           /* 0: off. default 40 */
  float top_p;              /* 1: off. default 0.95 */
  float min_p;              /* 0: off. default 0.05 */
  float repetition_penalty; /* 1: off (default) */
  float presence_penalty;   /* 0: off (default) */
  float frequency_penalty;  /* 0: off (default) */
  uint32_t penalty_window;  /* latest tokens that the penalties look at. default 64 */
  uint64_t seed;            /* the same seed and input give the same text. default 0 */
  const minnow_logit_bias* logit_bias;
  size_t logit_bias_count;
  const char* const* stop; /* strings at which generation ends; they are not handed out */
  size_t stop_count;
  int ignore_eos; /* go on after the model's end token */
} minnow_generate_params;

MINNOW_API minnow_generate_params minnow_generate_params_default(void);

typedef enum minnow_stop_reason {
  MINNOW_STOP_LENGTH = 0,  /* max_tokens */
  MINNOW_STOP_EOS = 1,     /* the model's end token */
  MINNOW_STOP_STRING = 2,  /* a stop string */
  MINNOW_STOP_CONTEXT = 3, /* the context is full */
  MINNOW_STOP_CALLBACK = 4 /* the callback asked to end */
} minnow_stop_reason;

/* A piece of generated text, whole characters, not terminated: `length` bytes valid during the call. `token`
 * is the latest one sampled. Runs on the calling thread; not 0 ends generation. Must not call the session. */
typedef int (*minnow_text_fn)(void* user, const char* text, size_t length, int32_t token);

typedef struct minnow_generate_result {
  size_t struct_size;
  minnow_stop_reason reason;
  uint32_t prompt_tokens; /* prefilled by this call */
  uint32_t generated_tokens;
  double prefill_seconds, decode_seconds;
} minnow_generate_result;

/* Continues the sequence behind its last token, prefilled before; after a rewind that token is run again.
 * Tokens of a model without a tokenizer are handed out with empty text. `result` may be NULL. */
MINNOW_API minnow_status minnow_generate(minnow_session* session, const minnow_generate_params* params,
                                         minnow_text_fn on_text, void* user, minnow_generate_result* result);
/* Tokenises `prompt` (special forms are text), keeps the longest prefix that the session already holds,
 * prefills the rest and generates. */
MINNOW_API minnow_status minnow_generate_text(minnow_session* session, const char* prompt,
                                              const minnow_generate_params* params, minnow_text_fn on_text,
                                              void* user, minnow_generate_result* result);
/* The same for a prompt of tokens. */
MINNOW_API minnow_status minnow_generate_tokens(minnow_session* session, const int32_t* prompt, size_t count,
                                                const minnow_generate_params* params, minnow_text_fn on_text,
                                                void* user, minnow_generate_result* result);

typedef struct minnow_session_stats {
  size_t struct_size;
  uint64_t kv_bytes, workspace_bytes;
  uint64_t tokens_prefilled, tokens_decoded; /* since creation */
  double prefill_seconds, decode_seconds;
  uint64_t bytes_per_token; /* weights and KV that the next decode step reads, were no weights left out */
  uint64_t weight_bytes_skipped; /* by tokens that came one at a time, since creation. What is left out but
                                    read, because that was measured to be faster, does not count: a figure
                                    of this machine */
  uint64_t tokens_masked;        /* that ran with thresholds, since creation; the next two are over them */
  double realised_sparsity;      /* share left out of the weights that may be left out: those of matrices with
                                    thresholds */
  double activated_fraction;     /* share used of all weights of layers and output head; 1 where no token was
                                    masked */
  uint64_t index_bytes;          /* of the retrieval index; 0: none is kept */
  uint64_t tokens_retrieved;     /* that selected what they attended to, since creation */
  double attended_fraction;      /* share of all positions that these attended to, over layers that select and
                                    their KV heads; 1 where there were none */
  uint64_t kv_file_bytes;        /* of kv_bytes, what lies in the file of kv_dir; 0: all is in memory */
  double attended_weight;        /* with retrieval_measure, the share of exact attention's weight that those
                                    positions hold, over the same layers and their query heads; else 1 */
} minnow_session_stats;

MINNOW_API minnow_status minnow_session_get_stats(const minnow_session* session, minnow_session_stats* stats);

#ifdef __cplusplus
}
#endif
#endif
