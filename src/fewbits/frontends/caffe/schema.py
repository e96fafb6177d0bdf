"""The fields each message may have (``caffe.proto`` of BVLC, and of the SSD fork where a layer comes from there).

A field that stands in no list is an error: what fewbits does not know may change what the layer computes.
"""

from __future__ import annotations

_FILLER = "type value min max mean std sparse variance_norm"
_TRANSFORM = "scale mirror crop_size mean_file mean_value force_color force_gray"
_CONVOLUTION = (
    "num_output bias_term pad pad_h pad_w kernel_size kernel_h kernel_w stride stride_h stride_w dilation group "
    "weight_filler bias_filler engine axis force_nd_im2col"
)

FIELDS: dict[str, frozenset[str]] = {
    name: frozenset(fields.split())
    for name, fields in {
        "net": "name input input_shape input_dim force_backward state debug_info layer layers",
        "layer": (
            "name type bottom top phase loss_weight param propagate_down include exclude transform_param loss_param "
            "blobs_lr weight_decay blob_share_mode"
        ),
        "rule": "phase min_level max_level stage not_stage",
        "filler": _FILLER,
        "argmax_param": "out_max_val top_k axis",
        "batch_norm_param": "use_global_stats moving_average_fraction eps",
        "bias_param": "axis num_axes filler",
        "clip_param": "min max",
        "concat_param": "axis concat_dim",
        "convolution_param": _CONVOLUTION,
        "crop_param": "axis offset",
        "detection_output_param": (
            "num_classes share_location background_label_id nms_param save_output_param code_type "
            "variance_encoded_in_target keep_top_k confidence_threshold visualize visualize_threshold save_file"
        ),
        "dropout_param": "dropout_ratio scale_train",
        "dummy_data_param": "data_filler shape num channels height width",
        "eltwise_param": "operation coeff stable_prod_grad",
        "elu_param": "alpha",
        "exp_param": "base scale shift",
        "flatten_param": "axis end_axis",
        "inner_product_param": "num_output bias_term weight_filler bias_filler axis transpose engine",
        "input_param": "shape",
        "interp_param": "height width zoom_factor shrink_factor pad_beg pad_end",
        "log_param": "base scale shift",
        "lrn_param": "local_size alpha beta norm_region k engine",
        "memory_data_param": "batch_size channels height width",
        "mvn_param": "normalize_variance across_channels eps",
        "nms_param": "nms_threshold top_k eta",
        "norm_param": "across_spatial scale_filler channel_shared eps",
        "permute_param": "order",
        "pooling_param": (
            "pool pad pad_h pad_w kernel_size kernel_h kernel_w stride stride_h stride_w engine global_pooling "
            "ceil_mode round_mode"
        ),
        "power_param": "power scale shift",
        "prelu_param": "filler channel_shared",
        "prior_box_param": (
            "min_size max_size aspect_ratio flip clip variance img_size img_h img_w step step_h step_w offset"
        ),
        "reduction_param": "operation axis coeff",
        "relu_param": "negative_slope engine",
        "reshape_param": "shape axis num_axes",
        "scale_param": "axis num_axes filler bias_term bias_filler",
        "shape": "dim",
        "shuffle_channel_param": "group",
        "sigmoid_param": "engine",
        "slice_param": "axis slice_point slice_dim",
        "softmax_param": "engine axis",
        "swish_param": "beta",
        "tanh_param": "engine",
        "threshold_param": "threshold",
        "tile_param": "axis tiles",
        "upsample_param": "scale scale_h scale_w",
    }.items()
}

# Messages inside a layer's own message that are checked with it.
NESTED: dict[str, str] = {
    "weight_filler": "filler",
    "bias_filler": "filler",
    "scale_filler": "filler",
    "filler": "filler",
    "shape": "shape",
    "nms_param": "nms_param",
}

# Names of the old enumeration (``layers { type: CONVOLUTION }``) → the type's name since.
OLD_TYPES: dict[str, str] = {
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "ELTWISE": "Eltwise",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SLICE": "Slice",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "TANH": "TanH",
    "THRESHOLD": "Threshold",
    "WINDOW_DATA": "WindowData",
}
