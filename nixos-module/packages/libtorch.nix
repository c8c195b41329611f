# libtorch 2.13.0 out of the published wheels: the same libraries that `cargo xtask setup` unpacks, patched to find each other
# in the store. With `cuda` the GPU's libraries are there too, and torch-sys turns CUDA on when it finds libtorch_cuda.so.
{
  lib,
  pkgs,
  cuda,
}:
let
  wheels = import ./wheels.nix;
  fetch =
    wheel:
    pkgs.fetchPypi (
      wheel
      // {
        format = "wheel";
        dist = wheel.python;
      }
    );
  # What the processor needs: torch's CUDA libraries stay out, for they would turn CUDA on.
  cpuLibraries = [
    "libtorch.so"
    "libtorch_cpu.so"
    "libc10.so"
    "libgomp.so.1"
  ];
in
pkgs.stdenvNoCC.mkDerivation {
  pname = if cuda then "libtorch-cuda" else "libtorch-cpu";
  version = "2.13.0";
  srcs = map fetch (wheels.cpu ++ lib.optionals cuda wheels.cuda);
  nativeBuildInputs = [
    pkgs.autoPatchelfHook
    pkgs.unzip
  ]
  ++ lib.optional cuda pkgs.autoAddDriverRunpath;
  buildInputs = [ pkgs.stdenv.cc.cc.lib ];
  # Comes with the driver of the host that it runs on.
  autoPatchelfIgnoreMissingDeps = lib.optionals cuda [
    "libcuda.so.1"
    "libnvidia-ml.so.1"
    # Network transports of nvshmem and cufile, which nothing here uses.
    "libibverbs.so.1"
    "libmlx5.so.1"
    "librdmacm.so.1"
    "libmpi.so.40"
    "liboshmem.so.40"
    "libpmix.so.2"
    "libucp.so.0"
    "libucs.so.0"
    "libfabric.so.1"
  ];

  unpackPhase = ''
    runHook preUnpack
    for wheel in $srcs; do unzip -q -o "$wheel" -d wheels; done
    runHook postUnpack
  '';
  dontConfigure = true;
  dontBuild = true;
  dontStrip = true;

  installPhase = ''
    runHook preInstall
    mkdir -p $out/lib
    cp -r wheels/torch/include $out/include
    ${
      if cuda then
        ''
          find wheels/torch/lib wheels/nvidia -name '*.so*' ! -name 'libtorch_python.so' -exec cp -t $out/lib {} +
        ''
      else
        ''
          cp ${lib.concatMapStringsSep " " (name: "wheels/torch/lib/${name}") cpuLibraries} $out/lib
          cp wheels/nvidia/cu13/lib/libcudart.so.13 wheels/nvidia/cu13/lib/libcupti.so.13 $out/lib
        ''
    }
    printf 2.13.0 > $out/build-version
    runHook postInstall
  '';

  meta = {
    description = "C++ library of PyTorch, as tch links it";
    platforms = [ "x86_64-linux" ];
    sourceProvenance = [ lib.sourceTypes.binaryNativeCode ];
    license =
      if cuda then
        [
          lib.licenses.bsd3
          lib.licenses.unfree
        ]
      else
        [ lib.licenses.bsd3 ];
  };
}
