// Weight gradient of a depthwise convolution in bfloat16, channels last, with AVX-512.
//
// Sixteen channels at a time: each output pixel's gradient multiplies the K input pixels of one
// kernel row, whose sums stay in registers. Layers with stride 1 reuse K - 1 of them for the next
// pixel. Sums are in float32.
#include <ATen/Parallel.h>
#include <immintrin.h>
#include <torch/extension.h>

namespace {

constexpr int64_t kLanes = 16;

__m512 load(const uint16_t* at, __mmask16 lanes) {
  const __m256i halves = _mm256_maskz_loadu_epi16(lanes, at);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

struct Sizes {
  int64_t pictures, channels, in_height, in_width, out_height, out_width, stride;
};

template <int K>
void block(const uint16_t* input, const uint16_t* gradient, float* out, const Sizes& z, int64_t c) {
  const int64_t left = z.channels - c;
  const __mmask16 lanes = left >= kLanes ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
  for (int row = 0; row < K; row++) {
    __m512 sums[K], seen[K];
    for (int k = 0; k < K; k++) sums[k] = seen[k] = _mm512_setzero_ps();
    for (int64_t n = 0; n < z.pictures; n++)
      for (int64_t y = 0; y < z.out_height; y++) {
        const uint16_t* x =
            input + ((n * z.in_height + y * z.stride + row) * z.in_width) * z.channels + c;
        const uint16_t* g = gradient + ((n * z.out_height + y) * z.out_width) * z.channels + c;
        if (z.stride == 1)
          for (int k = 0; k < K - 1; k++) seen[k + 1] = load(x + k * z.channels, lanes);
        for (int64_t q = 0; q < z.out_width; q++) {
          const __m512 here = load(g + q * z.channels, lanes);
          if (z.stride == 1) {
            for (int k = 0; k < K - 1; k++) seen[k] = seen[k + 1];
            seen[K - 1] = load(x + (q + K - 1) * z.channels, lanes);
          } else {
            for (int k = 0; k < K; k++) seen[k] = load(x + (q * z.stride + k) * z.channels, lanes);
          }
          for (int k = 0; k < K; k++) sums[k] = _mm512_fmadd_ps(here, seen[k], sums[k]);
        }
      }
    for (int k = 0; k < K; k++)
      _mm512_mask_storeu_ps(out + (row * K + k) * z.channels + c, lanes, sums[k]);
  }
}

}  // namespace

// input (N, C, H, W), padded, and gradient (N, C, h, w), both bfloat16 and channels last
// -> (K, K, C) float32
torch::Tensor weight_gradient(
    const torch::Tensor& input, const torch::Tensor& gradient, int64_t kernel, int64_t stride) {
  for (const auto* t : {&input, &gradient}) {
    TORCH_CHECK(t->scalar_type() == at::kBFloat16, "bfloat16 is wanted");
    TORCH_CHECK(t->is_contiguous(at::MemoryFormat::ChannelsLast), "channels last is wanted");
  }
  const Sizes z{input.size(0), input.size(1),    input.size(2),    input.size(3),
                gradient.size(2), gradient.size(3), stride};
  TORCH_CHECK(kernel == 3 || kernel == 5, "kernels are 3 or 5 wide, not ", kernel);
  TORCH_CHECK((z.out_height - 1) * stride + kernel <= z.in_height, "the input is too low");
  TORCH_CHECK((z.out_width - 1) * stride + kernel <= z.in_width, "the input is too narrow");
  auto out = torch::empty({kernel, kernel, z.channels}, torch::kFloat);
  const auto* x = reinterpret_cast<const uint16_t*>(input.data_ptr());
  const auto* g = reinterpret_cast<const uint16_t*>(gradient.data_ptr());
  auto* w = out.data_ptr<float>();
  at::parallel_for(0, (z.channels + kLanes - 1) / kLanes, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; b++) {
      if (kernel == 3)
        block<3>(x, g, w, z, b * kLanes);
      else
        block<5>(x, g, w, z, b * kLanes);
    }
  });
  return out;
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("weight_gradient", &weight_gradient); }
