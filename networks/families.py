"""The families of networks: a new one is a module of its own, an entry here and its presets."""

from __future__ import annotations

from deepmask.networks.anchors import objective as anchors_objective
from deepmask.networks.anchors.batches import faster_rcnn_batches, retinanet_batches, rpn_batches
from deepmask.networks.anchors.config import FasterRcnnConfig, RetinaNetConfig, RpnConfig
from deepmask.networks.anchors.faster_objective import faster_losses, faster_weights
from deepmask.networks.anchors.learning import start_from_pyramid, train_anchors
from deepmask.networks.anchors.recipe import AnchorRecipe, FasterRcnnRecipe
from deepmask.networks.boxes import objective as boxes_objective
from deepmask.networks.boxes.batches import box_batches
from deepmask.networks.boxes.categories import with_categories_of
from deepmask.networks.boxes.config import FastRcnnConfig
from deepmask.networks.boxes.recipe import FastRcnnRecipe
from deepmask.networks.config import NetworkConfig
from deepmask.networks.deepmask import DeepMaskNetwork, train_deepmask
from deepmask.networks.dense.anchors import (
    dense_faster_rcnn,
    dense_retinanet,
    dense_rpn,
    describe_faster_rcnn,
    describe_retinanet,
    describe_rpn,
)
from deepmask.networks.dense.deepmask import dense_deepmask, describe_deepmask
from deepmask.networks.dense.fast_rcnn import dense_fast_rcnn, describe_fast_rcnn
from deepmask.networks.dense.fpn_lite import dense_fpn_lite, describe_fpn_lite
from deepmask.networks.dense.fpn_masks import dense_fpn_masks, describe_fpn_masks
from deepmask.networks.dense.graphs import DenseModel, Description
from deepmask.networks.dense.sharpmask import dense_sharpmask, describe_sharpmask
from deepmask.networks.family import AnyFamily, Family, Validation
from deepmask.networks.fast_rcnn import FastRcnn, start_from_proposals, train_head
from deepmask.networks.faster_rcnn import FasterRcnn
from deepmask.networks.fpn_lite import FpnLite, train_fpn_lite
from deepmask.networks.fpn_masks import FpnMasks, train_fpn_masks
from deepmask.networks.network import Network
from deepmask.networks.patches.batches import masks_and_scores, masks_only
from deepmask.networks.patches.config import DeepMaskConfig, SharpMaskConfig
from deepmask.networks.patches.losses import (
    MEASURES,
    deepmask_weights,
    measure_patches,
    patch_losses,
    sharpmask_weights,
    validation_batches,
)
from deepmask.networks.patches.recipe import DeepMaskRecipe, SharpMaskRecipe
from deepmask.networks.patches.score_swap import with_scores_of
from deepmask.networks.retinanet import RetinaNet
from deepmask.networks.rpn import Rpn
from deepmask.networks.sharpmask import SharpMaskNetwork, start_from, train_refinement
from deepmask.networks.whole import objective as whole_objective
from deepmask.networks.whole.batches import whole_batches
from deepmask.networks.whole.config import FpnLiteConfig
from deepmask.networks.whole.masks_batch import masks_batches
from deepmask.networks.whole.masks_config import FpnMasksConfig
from deepmask.networks.whole.masks_objective import masks_losses, masks_weights
from deepmask.networks.whole.recipe import FpnLiteRecipe, FpnMasksRecipe

FAMILIES: dict[str, AnyFamily] = {
    "deepmask": Family(
        config=DeepMaskConfig,
        recipe=DeepMaskRecipe,
        units="patches",
        build=DeepMaskNetwork,
        batches=masks_and_scores,
        loss_weights=deepmask_weights,
        losses=patch_losses,
        dense=dense_deepmask,
        describe=describe_deepmask,
        trainable=train_deepmask,
        validation=Validation(MEASURES, validation_batches, measure_patches),
        with_scores_of=with_scores_of,
    ),
    "sharpmask": Family(
        config=SharpMaskConfig,
        recipe=SharpMaskRecipe,
        units="patches",
        build=SharpMaskNetwork,
        batches=masks_only,
        loss_weights=sharpmask_weights,
        losses=patch_losses,
        dense=dense_sharpmask,
        describe=describe_sharpmask,
        trainable=train_refinement,
        validation=Validation(MEASURES, validation_batches, measure_patches),
        with_scores_of=with_scores_of,
        base=SharpMaskConfig.coarse,
        start_from=start_from,
    ),
    "fpn-lite": Family(
        config=FpnLiteConfig,
        recipe=FpnLiteRecipe,
        units="crops",
        build=FpnLite,
        batches=whole_batches,
        loss_weights=whole_objective.weights,
        losses=whole_objective.losses,
        dense=dense_fpn_lite,
        describe=describe_fpn_lite,
        trainable=train_fpn_lite,
    ),
    "fast-rcnn": Family(
        config=FastRcnnConfig,
        recipe=FastRcnnRecipe,
        units="pictures",
        build=FastRcnn,
        batches=box_batches,
        loss_weights=boxes_objective.weights,
        losses=boxes_objective.losses,
        dense=dense_fast_rcnn,
        describe=describe_fast_rcnn,
        fitted=with_categories_of,
        trainable=train_head,
        base=FastRcnnConfig.base,
        own_trunk=FastRcnnConfig.has_own_trunk,
        start_from=start_from_proposals,
        reads_proposals=True,
    ),
    "fpn-masks": Family(
        config=FpnMasksConfig,
        recipe=FpnMasksRecipe,
        units="crops",
        build=FpnMasks,
        batches=masks_batches,
        loss_weights=masks_weights,
        losses=masks_losses,
        dense=dense_fpn_masks,
        describe=describe_fpn_masks,
        trainable=train_fpn_masks,
    ),
    "rpn": Family(
        config=RpnConfig,
        recipe=AnchorRecipe,
        units="crops",
        build=Rpn,
        batches=rpn_batches,
        loss_weights=anchors_objective.weights,
        losses=anchors_objective.rpn_losses,
        dense=dense_rpn,
        describe=describe_rpn,
        trainable=train_anchors,
        base=RpnConfig.base,
        base_or_init=True,
        start_from=start_from_pyramid,
    ),
    "retinanet": Family(
        config=RetinaNetConfig,
        recipe=AnchorRecipe,
        units="crops",
        build=RetinaNet,
        batches=retinanet_batches,
        loss_weights=anchors_objective.weights,
        losses=anchors_objective.retinanet_losses,
        dense=dense_retinanet,
        describe=describe_retinanet,
        fitted=with_categories_of,
        trainable=train_anchors,
        base=RetinaNetConfig.base,
        base_or_init=True,
        start_from=start_from_pyramid,
    ),
    "faster-rcnn": Family(
        config=FasterRcnnConfig,
        recipe=FasterRcnnRecipe,
        units="crops",
        build=FasterRcnn,
        batches=faster_rcnn_batches,
        loss_weights=faster_weights,
        losses=faster_losses,
        dense=dense_faster_rcnn,
        describe=describe_faster_rcnn,
        fitted=with_categories_of,
        trainable=train_anchors,
        base=FasterRcnnConfig.base,
        base_or_init=True,
        start_from=start_from_pyramid,
    ),
}


def family_name(config: NetworkConfig) -> str:
    """Return the name of the family that a configuration is of."""
    return next(name for name, one in FAMILIES.items() if one.config is type(config))


def family_of(config: NetworkConfig) -> AnyFamily:
    """Return the family that a configuration is of."""
    return FAMILIES[family_name(config)]


def build(config: NetworkConfig) -> Network:
    """Return the network of a configuration, with random weights."""
    network: Network = family_of(config).build(config)
    return network


def dense_model(network: Network) -> DenseModel:
    """Return the graphs to export of a network in evaluation mode."""
    dense: DenseModel = family_of(network.config).dense(network)
    return dense


def describe(config: NetworkConfig) -> Description:
    """Return what `model.json` says of the network of a configuration."""
    description: Description = family_of(config).describe(config)
    return description
