# The wheels that libtorch is taken from, those of src/xtask/src/libtorch/pins.rs among them (a test compares the two), with
# the SHA-256 of each. libtorch_cpu.so needs libcudart and libcupti to load even where there is no GPU; what CUDA needs beside
# is what the wheel of torch 2.13.0 itself requires.
let
  wheel = pname: version: platform: sha256: {
    inherit
      pname
      version
      platform
      sha256
      ;
    python = "py3";
    abi = "none";
  };
in
{
  cpu = [
    (wheel "nvidia_cuda_runtime" "13.0.96" "manylinux2014_x86_64.manylinux_2_17_x86_64"
      "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548"
    )
    (wheel "nvidia_cuda_cupti" "13.0.85" "manylinux_2_25_x86_64"
      "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"
    )
    (
      wheel "torch" "2.13.0" "manylinux_2_28_x86_64"
        "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7"
      // {
        python = "cp311";
        abi = "cp311";
      }
    )
  ];

  cuda = [
    (wheel "nvidia_cublas" "13.1.1.3" "manylinux_2_27_x86_64"
      "37936a16db8fe4ac1f065c2139360608a543a09275cb1a1af612e08cfa065436"
    )
    (wheel "nvidia_cuda_nvrtc" "13.0.88" "manylinux2010_x86_64.manylinux_2_12_x86_64"
      "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575"
    )
    (wheel "nvidia_cudnn_cu13" "9.20.0.48" "manylinux_2_27_x86_64"
      "0c45dd8eeb50b603f07995b1b300c62ffe6a1980482b82b3bcf94a4ca9d49304"
    )
    (wheel "nvidia_cufft" "12.0.0.61" "manylinux2014_x86_64.manylinux_2_17_x86_64"
      "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3"
    )
    (wheel "nvidia_cufile" "1.15.1.6" "manylinux2014_x86_64.manylinux_2_17_x86_64"
      "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44"
    )
    (wheel "nvidia_curand" "10.4.0.35" "manylinux_2_27_x86_64"
      "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc"
    )
    (wheel "nvidia_cusolver" "12.0.4.66" "manylinux_2_27_x86_64"
      "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112"
    )
    (wheel "nvidia_cusparse" "12.6.3.3" "manylinux2014_x86_64.manylinux_2_17_x86_64"
      "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b"
    )
    (wheel "nvidia_cusparselt_cu13" "0.8.1" "manylinux2014_x86_64"
      "786ce87568c303fadb5afcc7102d454cd3040d75f6f8626f5db460d1871f4dd0"
    )
    (wheel "nvidia_nccl_cu13" "2.29.7" "manylinux_2_18_x86_64"
      "edd81538446786ec3b73972543e53bb43bcaf0bfc8ef76cb679fcc390ffe136d"
    )
    (wheel "nvidia_nvjitlink" "13.5.37" "manylinux2010_x86_64.manylinux_2_12_x86_64"
      "280d7cb9649704145f074b8dbde500de04ce02d0872e066e20a83c17bcaa93eb"
    )
    (wheel "nvidia_nvshmem_cu13" "3.4.5" "manylinux2014_x86_64.manylinux_2_17_x86_64"
      "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80"
    )
    (wheel "nvidia_nvtx" "13.0.85" "manylinux1_x86_64.manylinux_2_5_x86_64"
      "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4"
    )
  ];
}
