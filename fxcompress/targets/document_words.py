"""What documents are made of, as the dictionary of their compression. It is part of format 2: it does not change.

What comes more often stands nearer to the end, where a reference to it takes fewer bits.
"""

from __future__ import annotations

_RARE = (
    '{"kept":[[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]],"tensors":{"weight":{"0":0,"1":1},"bias":{"0":0}}}'
    '"always_training":true,"origin":["fold-bn"],"memory_format":{"memory_format":"contiguous_format"},'
    '{"device":"cpu"}{"layout":"strided"}{"slice":[null,null,null]}{"ellipsis":true}{"float":"-inf"}{"complex":["'
    '"kind":"class","class":"transformers.modeling_outputs.BaseModelOutputWithPooling","keys":["logits",'
    '"kind":"list""kind":"ordered_dict""int64""int32""bool""bfloat16""float16""uint8"operator.add'
    "operator.mul operator.sub operator.floordiv operator.getitem math.trunc"
)
_CLASSES = "".join(
    f"torch.nn.modules.{name}"
    for name in (
        *("sparse.Embedding", "rnn.LSTM", "activation.MultiheadAttention", "transformer.TransformerEncoderLayer"),
        *("activation.Softmax", "activation.Sigmoid", "activation.SiLU", "activation.Hardswish", "activation.GELU"),
        *("normalization.LayerNorm", "normalization.GroupNorm", "pooling.AdaptiveAvgPool2d", "pooling.AvgPool2d"),
        *("container.ModuleList", "dropout.Dropout", "batchnorm.BatchNorm2d", "pooling.MaxPool2d", "conv.Conv2d"),
        *("flatten.Flatten", "activation.ReLU", "linear.Linear", "container.Sequential"),
    )
)
_CALLS = "".join(
    f'"target":"{name}","args":[{{"node":"'
    for name in (
        *("aten.embedding.default", "aten.expand.default", "aten.slice.Tensor", "aten.select.int", "aten.cat.default"),
        *("aten.chunk.int", "aten.split.Tensor", "aten.contiguous.default", "aten.clone.default", "aten.to.dtype"),
        *("aten.unsqueeze.default", "aten.squeeze.dim", "aten.arange.default", "aten.zeros.default"),
        *("aten.matmul.default", "aten.scaled_dot_product_attention.default", "aten.tanh.default", "aten.pow.default"),
        *("aten.mul.Tensor", "aten.sub.Tensor", "aten.div.Tensor", "aten.add_.Tensor", "aten.add.Tensor"),
        *("aten.layer_norm.default", "aten.batch_norm.default", "aten.group_norm.default", "aten.dropout.default"),
        *("aten.sigmoid.default", "aten.silu.default", "aten.gelu.default", "aten.hardtanh.default"),
        *("aten.softmax.int", "aten.log_softmax.int", "aten.transpose.int", "aten.permute.default", "aten.mean.dim"),
        *("aten.view.default", "aten.reshape.default", "aten.sym_size.int", "aten.adaptive_avg_pool2d.default"),
        *("quantized_decomposed.quantize_per_tensor.default", "quantized_decomposed.dequantize_per_tensor.default"),
        *("quantized_decomposed.dequantize_per_channel_group.default", "aten.index.Tensor", "aten.take.default"),
        *("quantized_decomposed.dequantize_per_channel.default", "aten.index_select.default", "aten.relu_.default"),
        *("aten.max_pool2d.default", "aten.conv2d.default", "aten.flatten.using_ints", "aten.relu.default"),
    )
)
_TENSORS = "".join(
    f'{{"path":"{name}","payload":"{name}","parameter":{flag},"requires_grad":{flag},"persistent":true}},'
    for name, flag in (
        *(("norm1.running_mean", "false"), ("norm1.running_var", "false"), ("norm1.num_batches_tracked", "false")),
        *(("encoder.layer.0.attention.self.query.weight", "true"), ("layer1.0.conv1.weight_mask", "false")),
        *(("features.0.weight_scale", "false"), ("classifier.weight_zero", "false"), ("fc1.weight", "true")),
        *(("fc2.weight_codebook", "false"), ("fc3.weight_codes", "false"), ("0.bias", "true"), ("2.bias", "true")),
    )
)
_TYPICAL = (
    '"kwargs":{"out_dtype":{"dtype":"float32"}},"scope":5},[3,3],[1,1],[2,2],[0,0],true,false,null,-8,7,{"dtype":"int8"}'
    ',1e-05,0.1,-128,127,"same_as":"'
    '{"fxcompress":"0.1.0","torch":"2.13.0+cpu","pipeline":"deep-compression,mask{sparsity=0.9},finetune,cluster{bits=4'
    '},quantize{scheme=w8a16}","notes":[],"tensors":[{"path":"weight","payload":"weight","parameter":false,'
    '"requires_grad":false,"persistent":true},{"path":"bias","payload":"bias","parameter":true,"requires_grad":true,'
    '"persistent":true}],"graph":{"scopes":[[["L__self__","","torch.nn.modules.container.Sequential"],["L__self__0","0",'
    '"torch.nn.modules.linear.Linear"]],[["L__self__","","model.Net"],["L__self___conv","conv","torch.nn.modules.conv.C'
    'onv2d"]]],"nodes":[{"name":"input_1","op":"placeholder","target":"input"},{"name":"x","op":"placeholder","target":'
    '"x"},{"name":"weight","op":"get_attr","target":"weight"},{"name":"fc1_bias","op":"get_attr","target":"fc1.bias"},{"'
    'name":"_0_bias","op":"get_attr","target":"0.bias"},{"name":"conv2d","op":"call_function","target":"aten.conv2d.def'
    'ault","args":[{"node":"x"},{"node":"conv1_weight"},{"node":"conv1_bias"}],"scope":0},{"name":"relu_1","op":"call_f'
    'unction","target":"aten.relu.default","args":[{"node":"linear_1"}],"scope":2},{"name":"linear_2","op":"call_functio'
    'n","target":"aten.linear.default","args":[{"node":"relu_1"},{"node":"_4_weight"},{"node":"_4_bias"}],"scope":3},{"n'
    'ame":"output","op":"output","args":[{"tuple":[{"node":"linear_2"}]}]}]},"signature":{"arguments":["input"],"inputs"'
    ':{"kind":"tuple","parts":[{"kind":"tuple","parts":["*"]},{"kind":"dict","keys":[],"parts":[]}]},"outputs":"*"},"for'
    'm":{"parameters":[{"name":"input","keyword_only":false,"optional":false,"default":null}],"batch_sizes":null},"types'
    '":{"x":{"tensor":{"dtype":"float32","shape":[[[1,"s0"]],1,28,28],"stride":[784,784,28,1]}},"input_1":{"tensor":{"dt'
    'ype":"float32","shape":[[[1,"s0"]],784],"stride":[784,1]}}},"symbols":{"s0":2},"inputs":{"args":{"tuple":[{"tensor"'
    ':".input.0"}]},"kwargs":{"dict":[]}},"plan":{"payloads":[{"name":"weight","dtype":"int8","shape":[300,784],"coded":'
    '[["rans",1]]},{"name":"fc1.bias","dtype":"float32","shape":[100],"coded":[["raw",400]]},{"name":"0.weight","dtype":"'
    'uint8","shape":[10,100],"coded":[["adaptive",12]]},{"name":"0.bias","dtype":"float32","shape":[10],"coded":[["planes'
    '",40]]},{"name":".input.0","dtype":"float32","shape":[2,1,28,28],"coded":[["rans",5]]}]}'
)
WORDS = (_RARE + _CLASSES + _CALLS + _TENSORS + _TYPICAL).encode("ascii")
