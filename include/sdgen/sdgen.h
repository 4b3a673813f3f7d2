// sdgen's public surface: a pipeline that turns requests into pictures. No torch header is included here, so that
// code that drives the pipeline compiles in a second.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sdgen/error.h"

namespace sdgen {

// 8-bit RGB, rows from the top, no padding: rgb.size() == 3 * width * height.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;
};

struct Size {
  int width = 0, height = 0;
  bool operator==(const Size&) const = default;
};
struct Point {
  int left = 0, top = 0;
  bool operator==(const Point&) const = default;
};

// How prompts are read. plain: as they are, cut to the model's length, as diffusers does it. weighted: AUTOMATIC1111's
// language of brackets, of any length (src/text/prompt_grammar.h).
enum class PromptSyntax { plain, weighted };

// Pixels that a picture grows by on each side.
struct Margins {
  int left = 0, top = 0, right = 0, bottom = 0;
  bool operator==(const Margins&) const = default;
};

// The kinds of pictures that Flux's ControlNets for several of them know, in the order of their numbers.
inline constexpr std::array<std::string_view, 7> kControlModes{"canny", "tile", "depth",      "blur",
                                                               "pose",  "gray", "low-quality"};

// How a picture steers through one of LoadOptions::controlnets or adapters.
struct Control {
  std::shared_ptr<const Image> image;  // what the network was trained on: edges, depth, a pose; resized to the picture
  double scale = 1;                    // of what the network adds
  double start = 0, end = 1;           // shares of the steps, before and after which it adds nothing
  std::string mode = {};  // of ControlNets for several kinds of pictures: one of kControlModes, or a kind's number
  bool operator==(const Control&) const = default;
};

// What SDXL is told of a picture (Podell et al., 2023, section 2.2): the training picture's size, where it was cropped,
// and the size aimed at. Empty: the picture's own, and no crop.
struct TrainingSizes {
  std::optional<Size> original_size = {}, target_size = {};
  std::optional<Point> crop = {};
  bool operator==(const TrainingSizes&) const = default;
};

// A LoRA file and how much of it is added to the denoising network and to the text encoders.
struct Lora {
  std::filesystem::path path;
  double unet_scale = 1, text_scale = 1;
  bool operator==(const Lora&) const = default;
};

// Calls of the denoising network that use again what its deep layers said at an earlier one: most of the picture at a
// part of the time.
struct StepCache {
  // deep: U-Nets are asked whole at every Nth call (DeepCache). first_block: transformers are where their first layer
  // moves its tokens otherwise than when they were asked last, by more than a threshold (first-block cache).
  enum class Kind { deep, first_block } kind = Kind::deep;
  int every = 1;         // of deep, >= 1
  int layers = 1;        // of deep, >= 1: the last ones of the U-Net, which are asked at every call
  double threshold = 0;  // of first_block, >= 0: the share of what the first layer adds
  bool operator==(const StepCache&) const = default;
};

// A part of a schedule, as shares of its steps: 0 <= begin < end <= 1.
struct Interval {
  double begin = 0, end = 1;
  bool operator==(const Interval&) const = default;
};

// Bounds of a picture, far beyond what is useful, and small enough that no product of them overflows.
constexpr int kMostSide = 16384;  // pixels
constexpr int kMostSteps = 10'000;
constexpr double kMostFlowShift = 1000;

// One picture to make. What is left empty is filled by Pipeline::plan() from the model and then from the defaults of
// the matching diffusers pipeline.
struct Request {
  std::optional<std::string> prompt;           // UTF-8; empty for models without text, and for them alone
  std::optional<std::string> negative_prompt;  // UTF-8
  // What the model's second and third text encoder are told instead; empty: the same as the first.
  std::optional<std::string> prompt_2, prompt_3, negative_prompt_2, negative_prompt_3;
  std::optional<PromptSyntax> prompt_syntax;  // of all of them; default: plain
  std::optional<int> max_sequence_length;     // tokens of a prompt that T5 is told, padding included
  std::optional<int> width, height;           // pixels, multiples of Pipeline::size_factor()
  std::optional<std::uint64_t> seed;          // of the picture's own CPU generator
  std::optional<int> steps;                   // denoising steps, >= 1
  std::optional<double> guidance_scale;       // classifier-free guidance; <= 1: off; stays empty without text
  // The same of models that were distilled on guidance (Flux), which are told guidance_scale: away from the negative
  // prompt, where there is one; <= 1: off.
  std::optional<double> true_cfg_scale;
  std::optional<std::string> scheduler;         // a name of scheduler_infos(); empty: the model's own scheduler config
  std::optional<std::string> timestep_spacing;  // leading | linspace | trailing
  std::optional<std::string> prediction_type;   // epsilon | v_prediction | sample | flow_prediction
  std::optional<double> eta;  // noise share (0: deterministic, 1: DDPM's variance), where SchedulerInfo has one
  std::optional<std::string> sigma_schedule;   // default | karras | exponential | beta
  std::optional<double> flow_shift;            // of flow models: how far noise levels move towards 1; 1: not at all
  std::optional<bool> rescale_betas_zero_snr;  // shift the betas so that the last timestep is pure noise
  std::optional<double> guidance_rescale;      // share of the guided answer that gets the prompted one's deviation
  // Skip-layer guidance (Stable Diffusion 3.5): away from what the network says without these layers, by such a scale,
  // at calls i of N steps where start * N < i < stop * N.
  std::optional<std::vector<int>> skip_layers;  // from 0
  std::optional<double> skip_layer_scale, skip_layer_start, skip_layer_stop;
  std::optional<Interval> guidance_interval;  // of the schedule, in which it is guided; else the prompt alone is asked
  std::optional<StepCache> cache;
  std::optional<int> clip_skip;  // how many of the text encoders' last layers to leave out
  std::vector<Lora> loras;       // added to the networks, in this order, after LoadOptions::loras
  TrainingSizes sizes = {};
  // Image to image: what the picture is made of, resized to its size, and how far it is noised before it is drawn
  // again: min(int(steps * strength), steps) steps are run.
  std::shared_ptr<const Image> init_image;
  std::optional<double> strength;  // 0 < strength <= 1; with an init image alone
  // Repainting: the init image is kept, sample by sample, where the mask is black, and repainted where it is white. A
  // mask of another size is resized.
  std::shared_ptr<const Image> mask;
  std::optional<int> mask_blur;    // deviation in pixels of the Gaussian that softens the mask; 0: none
  std::optional<int> only_masked;  // work on the masked part alone, with so many pixels around it, at width x height
  std::optional<Margins> extend;   // outpainting: the init image grows, and what is new is repainted as well
  // The depth map for a depth-to-image model: nearer is brighter. With an init image alone.
  std::shared_ptr<const Image> depth;
  // What a model that edits pictures is shown. Flux Kontext: one, in the size of its own that is nearest in shape.
  // FLUX.2: up to ten, of at least 64 pixels a side, in their own size, or that of at most 1024x1024 pixels.
  std::vector<std::shared_ptr<const Image>> references;
  std::optional<double> refiner_start;  // share of the noise levels after which the refiner takes over
  // One for each of LoadOptions::controlnets, then one for each of its adapters.
  std::vector<Control> controls;
  // ControlNets steer the prompted half of the guidance alone, and fine details less than the whole.
  bool guess_mode = false;

  bool operator==(const Request&) const = default;  // pictures are the same where they are the same object
};

// A request's texts, in the order of the encoders that read them.
struct TextField {
  const char* name;
  std::optional<std::string> Request::*text;
};
inline constexpr std::array<TextField, 3> kPrompts{
    {{"prompt", &Request::prompt}, {"prompt_2", &Request::prompt_2}, {"prompt_3", &Request::prompt_3}}};
inline constexpr std::array<TextField, 3> kNegativePrompts{{{"negative_prompt", &Request::negative_prompt},
                                                            {"negative_prompt_2", &Request::negative_prompt_2},
                                                            {"negative_prompt_3", &Request::negative_prompt_3}}};

enum class Precision { automatic, float32, float16, bfloat16 };

// In which codes large matrices are kept: blocks of GGUF, or eight bits with a scale (src/formats/quantize.h).
enum class Quantize { none, q8_0, q4_k, float8, int8 };

// A textual inversion file, and the word that it is for: empty: the name inside, else the file's.
struct TextualInversion {
  std::filesystem::path path;
  std::string word = {};
};

struct LoadOptions {
  std::string device = "auto";  // auto | cpu | cuda | cuda:N
  Precision precision = Precision::automatic;
  // Of the denoising network and T5, encoded while they are read. On a GPU they have the codes' numbers, but not their
  // size.
  Quantize quantize = Quantize::none;
  int batch_size = 1;                                     // pictures per network call; shorter batches are padded to it
  std::optional<std::filesystem::path> backbone = {};     // a denoising network instead of the model's own
  std::optional<std::filesystem::path> vae = {};          // an autoencoder instead of the model's own
  std::vector<std::filesystem::path> text_encoders = {};  // instead of the model's own, or those that it lacks
  std::optional<std::filesystem::path> refiner = {};      // an SDXL model that finishes what the first one begins
  std::vector<Lora> loras = {};                           // of all pictures; not of the refiner's part in them
  std::vector<TextualInversion> textual_inversions = {};  // words that the text encoders learn; the refiner's too
  bool strict = false;                                    // a LoRA that fits only in part is an error, not a warning
  std::vector<std::filesystem::path> controlnets = {};    // networks that steer by a picture: Request::controls
  std::vector<std::filesystem::path> adapters = {};       // T2I-Adapters, likewise
  bool vae_tiling = false;                                // the autoencoder works in tiles, whose memory does not grow
  // The networks take turns on the device; their weights wait in the host's memory. On the CPU text encoders and the
  // denoising network are never in memory at a time, as it is where there is no room for both.
  bool offload = false;
};

enum class Stage { load, text, denoise, decode };
const char* stage_name(Stage stage);

// How the pictures of a batch were computed, as far as their bytes depend on it: as LoadOptions says, unless memory
// ran out.
struct Computation {
  int batch_size = 1;
  bool vae_tiling = false;
};

// Follows a run: progress, timings, cancellation, warnings, previews. The default does nothing.
class Observer {
 public:
  virtual ~Observer() = default;
  // A stage of the batch that begins at request `first` has ended after `seconds`.
  virtual void stage(Stage /*stage*/, std::size_t /*first*/, double /*seconds*/) {}
  // Step `done` of `total` of the batch of `pictures` requests that begins at request `first` has ended.
  virtual void step(std::size_t /*first*/, std::size_t /*pictures*/, int /*done*/, int /*total*/) {}
  // Asked after every step: should preview() be called with what the pictures look like now?
  virtual bool wants_preview(int /*done*/, int /*total*/) { return false; }
  // The pictures of the batch that begins at request `first`, as the networks take them to be finished: in the size
  // that they are drawn in, of the right colours, without detail. Of --only-masked and the like they are the part that
  // is worked on. They change nothing about what is made.
  virtual void preview(std::size_t /*first*/, const std::vector<Image>& /*pictures*/) {}
  // How the pictures of the batch that begins at request `first` were computed; called before they are done.
  virtual void computed(std::size_t /*first*/, const Computation& /*how*/) {}
  // Details, which are shown with --verbose.
  virtual void detail(const std::string& /*message*/) {}
  // Something that the user should know but that stops nothing (a prompt was cut, a file is ignored).
  virtual void warning(const std::string& /*message*/) {}
  // The same of fields of a request, which a front may call as its users know them (Error::message).
  virtual void warning_of_fields(const Error& about) { warning(about.what()); }
  // Asked between network calls; true makes the run throw Cancelled.
  virtual bool cancelled() { return false; }
};

// One scheduler that `--scheduler` knows.
struct SchedulerInfo {
  std::string name = {};             // "dpm++2m"
  std::string diffusers_class = {};  // "DPMSolverMultistepScheduler"
  std::string options = "{}";        // JSON: what it adds to the class's config
  std::string a1111 = {};            // as AUTOMATIC1111's web UI spells it; where that has none, in its manner
  // What "Automatic" is there: "Karras" or "Uniform"; "None": the sampler has no schedule types; "": it has no such
  // sampler.
  std::string a1111_schedule = {};
  std::string comfyui = {};  // as ComfyUI spells it; "": it has none
  std::string on_flow = {};  // the scheduler that its name means on a model that predicts a flow; "": itself, or none
  int order = 0;  // of convergence, of a whole run; 0: it does not converge (the network was distilled for it)
  int formula_order = order;  // of its formulas, without a beginning and an end of low order
  std::string of_order = {};  // a remark on the order
  int calls = 1;              // of the network a step; where 2, the last step has one
  int more_calls = 0;         // at the beginning
  bool stochastic = false;    // it draws noise in its steps, whatever eta is
  std::string note = {}, paper = {};
  // What its class has, and what help says of all that.
  std::string eta_key = {};  // AUTOMATIC1111's word for eta; "": it takes none
  bool sigma_schedules = false, spacings = false, zero_snr = false, predicts_sample = false;
  bool diffusion = true, flow = false;  // it serves models that predict noise, v or x0; those that predict a flow
  std::string models = {};              // "diffusion", "diffusion, flow", "diffusion, flow as NAME", "flow"
  std::string summary = {};

  bool takes_eta() const { return !eta_key.empty(); }
  bool in_pairs() const { return calls == 2; }  // two entries of the grid a step
};
const std::vector<SchedulerInfo>& scheduler_infos();
const SchedulerInfo* scheduler_info(std::string_view name);  // null: there is none of this name
std::string schedulers_with_eta();                           // "NAME, NAME": those that take one
std::string schedulers_for(bool flow);                       // those that serve models that predict a flow, or others

// A LoRA that a picture is drawn with.
struct LoraInfo {
  std::filesystem::path path;
  std::string name;  // the file's, without .safetensors
  std::string hash;  // AUTOMATIC1111's: 12 hexadecimal digits
  double unet_scale = 1, text_scale = 1;
  std::size_t applied = 0, total = 0;  // modules in the model, and in the file
  std::string misfit = {};             // what of it does not fit the model, for people; "": nothing
  bool words = false;                  // it teaches the text encoders words
};

// A textual inversion that is in a model.
struct TextualInversionInfo {
  std::filesystem::path path;
  std::string word;  // its word in prompts
  std::string hash;  // AUTOMATIC1111's: 12 hexadecimal digits
  int vectors = 0;   // tokens that it takes in a prompt
};
// Is its word in one of the request's prompts?
bool mentions(const Request& request, const TextualInversionInfo& inversion);

// A ControlNet or T2I-Adapter that steers a model.
struct ControlInfo {
  enum class Kind { controlnet, t2i_adapter } kind;
  std::filesystem::path path;
  std::string name;  // the file's or folder's
  std::string hash;  // what AUTOMATIC1111's ControlNet extension shows: 8 hexadecimal digits
};

// What a loaded model is, for logs and for the metadata of its pictures.
struct ModelInfo {
  std::filesystem::path path;
  std::string name;       // the folder's name, as the user calls it
  std::string family;     // "StableDiffusionPipeline"
  std::string backbone;   // the name of a denoising network that is not the model's own; "": none
  std::string refiner;    // its name; "": none
  std::string vae;        // the name of an autoencoder that is not the model's own; "": none
  std::string device;     // "cpu", "cuda:0"
  std::string precision;  // "float32", ...
  std::vector<TextualInversionInfo> textual_inversions = {};
  std::vector<ControlInfo> controls = {};
};

// What belongs to the process. A program makes one before its first pipeline: the networks then have so many threads on
// the CPU (0: one a core that it may use), and libtorch keeps the memory of large tensors for the next ones instead of
// giving it back to the system each time.
struct Runtime {
  explicit Runtime(int threads = 0);
};

// A request, understood: what it comes to with a model. Made by Pipeline::plan(), for that pipeline, which it must not
// outlive; cheap to copy.
class Plan {
 public:
  // The request with every optional set that means something to the model (but the seed, and the scheduler where the
  // model's own runs), and checked. Its plan is the same.
  const Request& request() const;
  // That runs.
  const SchedulerInfo& scheduler() const;
  // That are in the networks: of the pipeline, then of the request.
  const std::vector<LoraInfo>& loras() const;

  struct Impl;
  explicit Plan(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

// done(i, image) is called as soon as picture i exists; an exception from it ends the run.
using Done = std::function<void(std::size_t, Image)>;

// A model. Threads may share it: each draws in a session of its own. The network that LoRAs change is there once, with
// those of the picture that was drawn last; with others it is read again from the model's files, so that it is the same
// to the bit whatever was drawn before. Sessions that draw with different LoRAs at a time have one each.
//
// On the CPU codes of a file are used where they lie, in the system's pages of it. The file must not change while the
// pipeline lives: draw() then throws Error(input). The first file that is used so sets a handler of SIGBUS, which is
// what a file that is cut gives; it leaves all else to the handler that was there before.
class Pipeline {
 public:
  // Opens a diffusers folder or a single-file checkpoint: everything about its files is checked, and what LoRAs do not
  // change is read; the rest comes with prepare(), or the first picture. Throws Error: usage (device, precision), input
  // (files), device (memory).
  static Pipeline load(const std::filesystem::path& model, const LoadOptions& options, Observer& observer);
  Pipeline(Pipeline&&) noexcept;
  Pipeline& operator=(Pipeline&&) noexcept;
  ~Pipeline();

  // Throws Error(usage) where plan() would for a prompt that is missing, or given to a model without text. Needs no
  // loaded model: it reads model_index.json alone.
  static void check_prompt(const std::filesystem::path& model, const Request& request);

  const ModelInfo& info() const;
  // Picture sizes are multiples of this: the VAE's downsampling, 2^(blocks-1); the U-Net's where it draws pixels.
  int size_factor() const;

  // Throws Error(usage) for what this model or scheduler cannot do, Error(input) for LoRAs that are no files for this
  // model, and for masks and depth maps that leave nothing to work on. Cheap: call it for all requests before the first
  // picture. `like`: an earlier plan, of which this one takes over what is the same.
  Plan plan(const Request& request, const Plan* like = nullptr) const;

  // Reads the networks that the plan is drawn with, if they are not there yet: what draw() would begin with. Throws
  // Error(input, device).
  void prepare(const Plan& plan, Observer& observer) const;

  // What changes while pictures are made: text encoders, which are loaded when they are first needed and kept from call
  // to call, as is the memory for activations; input pictures, previews' colours, recorded network calls. For one
  // thread; it must not outlive its pipeline.
  class Session {
   public:
    // Makes the pictures of seeded plans of this pipeline, in order. Neighbours that share size, scheduler settings,
    // steps, guidance scale and LoRAs run as one batch of LoadOptions::batch_size; pictures with the same LoRAs are
    // best drawn one after the other. `done` and the observer must not draw by the same pipeline. Throws Error(usage)
    // for a plan without a seed, or of another pipeline; Error(device), Cancelled.
    void draw(std::span<const Plan> plans, const Done& done, Observer& observer);

    Session(Session&&) noexcept;
    Session& operator=(Session&&) noexcept;
    ~Session();

   private:
    friend class Pipeline;
    struct Impl;
    explicit Session(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
  };
  Session session() const;

  // The same in a session that ends with it: its text encoders are gone as soon as the last batch's prompts are read.
  void draw(std::span<const Plan> plans, const Done& done, Observer& observer) const;

 private:
  struct Impl;
  explicit Pipeline(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sdgen
